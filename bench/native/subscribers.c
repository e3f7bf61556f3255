// subscribers COUNT SOCKET < OPENING: opens COUNT connections, sends each the bytes of standard input
// (HTTP/2 preface, settings and one gRPC call), and then prints for all that arrives
//
//   MS CONNECTION BYTES
//
// with CLOCK_MONOTONIC milliseconds. In C, since a hundred gRPC clients in one Node process would
// mostly measure that process.
#define _GNU_SOURCE
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
  if (argc != 3) errx(2, "Usage: subscribers COUNT SOCKET < OPENING");
  int count = atoi(argv[1]);
  static char opening[1 << 16], received[1 << 16];
  size_t length = fread(opening, 1, sizeof opening, stdin);
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  snprintf(at.sun_path, sizeof at.sun_path, "%s", argv[2]);
  int poll = epoll_create1(0);
  int *sockets = calloc(count, sizeof *sockets);
  for (int i = 0; i < count; i++) {
    sockets[i] = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(sockets[i], (void *)&at, sizeof at)) err(1, "%s", argv[2]);
    if (write(sockets[i], opening, length) != (ssize_t)length) err(1, "write");
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, sockets[i], &e)) err(1, "epoll_ctl");
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[128];
    int n = epoll_wait(poll, events, 128, 0);
    if (n == 0) {
      fflush(stdout);
      n = epoll_wait(poll, events, 128, -1);
    }
    for (int i = 0; i < n; i++) {
      int connection = events[i].data.u32;
      ssize_t got = read(sockets[connection], received, sizeof received);
      if (got <= 0) errx(1, "connection %d was closed", connection);
      struct timespec t;
      clock_gettime(CLOCK_MONOTONIC, &t);
      printf("%.4f %d %zd\n", t.tv_sec * 1e3 + t.tv_nsec / 1e6, connection, got);
    }
  }
}
