// monitor NAMESPACE: prints what the kernel says over rtnetlink, each line with CLOCK_MONOTONIC
// milliseconds taken when it was received. In C and at real-time priority, because a reader that
// waits for a CPU which the programs under test use would put their time into the figures.
//
//   MS +|- link NAME IFINDEX UL           flags: U admin up, L carrier (LOWER_UP), - neither
//   MS +|- addr NAME ADDRESS
//   MS +|- route NAME TABLE PREFIX        unicast routes, but those of table local
//   MS +|- rule PRIORITY TABLE FROM TO IIF OIF
//   MS ! overrun                          notifications were lost: what follows proves nothing
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LOWER_UP (1 << 16)
#define MAX_IFINDEX 65536

static char names[MAX_IFINDEX][IF_NAMESIZE];
static double now_ms;

static const char *name_of(unsigned ifindex) {
  return ifindex < MAX_IFINDEX && names[ifindex][0] ? names[ifindex] : "-";
}

static void remember(unsigned ifindex, const char *name) {
  if (ifindex < MAX_IFINDEX) snprintf(names[ifindex], IF_NAMESIZE, "%s", name);
}

static unsigned number(const struct rtattr *a) { return *(const unsigned *)RTA_DATA(a); }

static void prefix(char *text, const void *address, int length) {
  char plain[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, address, plain, sizeof plain);
  sprintf(text, "%s/%d", plain, length);
}

static void link_line(const struct nlmsghdr *h, char sign) {
  const struct ifinfomsg *m = NLMSG_DATA(h);
  int left = IFLA_PAYLOAD(h);
  for (struct rtattr *a = IFLA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left))
    if (a->rta_type == IFLA_IFNAME) remember(m->ifi_index, RTA_DATA(a));
  printf("%.4f %c link %s %d %c%c\n", now_ms, sign, name_of(m->ifi_index), m->ifi_index,
         m->ifi_flags & IFF_UP ? 'U' : '-', m->ifi_flags & LOWER_UP ? 'L' : '-');
}

static void address_line(const struct nlmsghdr *h, char sign) {
  const struct ifaddrmsg *m = NLMSG_DATA(h);
  int left = IFA_PAYLOAD(h);
  char text[INET_ADDRSTRLEN] = "-";
  for (struct rtattr *a = IFA_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left))
    if (a->rta_type == IFA_LOCAL) inet_ntop(AF_INET, RTA_DATA(a), text, sizeof text);
  printf("%.4f %c addr %s %s\n", now_ms, sign, name_of(m->ifa_index), text);
}

static void route_line(const struct nlmsghdr *h, char sign) {
  const struct rtmsg *m = NLMSG_DATA(h);
  int left = RTM_PAYLOAD(h);
  unsigned table = m->rtm_table, oif = 0;
  char to[INET_ADDRSTRLEN + 4] = "0.0.0.0/0";
  for (struct rtattr *a = RTM_RTA(m); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type == RTA_DST) prefix(to, RTA_DATA(a), m->rtm_dst_len);
    if (a->rta_type == RTA_TABLE) table = number(a);
    if (a->rta_type == RTA_OIF) oif = number(a);
  }
  if (table == RT_TABLE_LOCAL || m->rtm_type != RTN_UNICAST) return;
  printf("%.4f %c route %s %u %s\n", now_ms, sign, name_of(oif), table, to);
}

static void rule_line(const struct nlmsghdr *h, char sign) {
  const struct fib_rule_hdr *m = NLMSG_DATA(h);
  struct rtattr *a = (void *)((char *)m + NLMSG_ALIGN(sizeof *m));
  int left = h->nlmsg_len - NLMSG_LENGTH(sizeof *m);
  unsigned table = m->table, priority = 0;
  char from[INET_ADDRSTRLEN + 4] = "all", to[INET_ADDRSTRLEN + 4] = "all";
  const char *iif = "-", *oif = "-";
  for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
    if (a->rta_type == FRA_SRC) prefix(from, RTA_DATA(a), m->src_len);
    if (a->rta_type == FRA_DST) prefix(to, RTA_DATA(a), m->dst_len);
    if (a->rta_type == FRA_TABLE) table = number(a);
    if (a->rta_type == FRA_PRIORITY) priority = number(a);
    if (a->rta_type == FRA_IIFNAME) iif = RTA_DATA(a);
    if (a->rta_type == FRA_OIFNAME) oif = RTA_DATA(a);
  }
  printf("%.4f %c rule %u %u %s %s %s %s\n", now_ms, sign, priority, table, from, to, iif, oif);
}

static void line(const struct nlmsghdr *h) {
  switch (h->nlmsg_type) {
    case RTM_NEWLINK: return link_line(h, '+');
    case RTM_DELLINK: return link_line(h, '-');
    case RTM_NEWADDR: return address_line(h, '+');
    case RTM_DELADDR: return address_line(h, '-');
    case RTM_NEWROUTE: return route_line(h, '+');
    case RTM_DELROUTE: return route_line(h, '-');
    case RTM_NEWRULE: return rule_line(h, '+');
    case RTM_DELRULE: return rule_line(h, '-');
  }
}

static int subscribe(void) {
  int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  int size = 128 << 20;
  if (setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size)) err(1, "SO_RCVBUFFORCE");
  struct sockaddr_nl all = {
      .nl_family = AF_NETLINK,
      .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_RULE,
  };
  if (bind(s, (void *)&all, sizeof all)) err(1, "bind");
  return s;
}

int main(int argc, char **argv) {
  if (argc != 2) errx(2, "Usage: monitor NAMESPACE");
  char path[256];
  snprintf(path, sizeof path, "/run/netns/%s", argv[1]);
  int ns = open(path, O_RDONLY);
  if (ns < 0 || setns(ns, CLONE_NEWNET)) err(1, "%s", path);
  close(ns);
  // Not fatal: in a container without the right it measures a little less exactly.
  struct sched_param first = {.sched_priority = 50};
  if (sched_setscheduler(0, SCHED_FIFO, &first)) warn("sched_setscheduler");
  int s = subscribe();
  struct if_nameindex *links = if_nameindex();
  for (struct if_nameindex *l = links; l && l->if_index; l++) remember(l->if_index, l->if_name);
  puts("ready");
  fflush(stdout);
  static char buffer[1 << 16];
  for (;;) {
    ssize_t n = recv(s, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
      fflush(stdout);
      n = recv(s, buffer, sizeof buffer, 0);
    }
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    now_ms = t.tv_sec * 1e3 + t.tv_nsec / 1e6;
    if (n < 0 && errno != ENOBUFS) err(1, "recv");
    if (n < 0) printf("%.4f ! overrun\n", now_ms);
    for (struct nlmsghdr *h = (void *)buffer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) line(h);
  }
}
