# Removes IPv4 rules, routes and addresses that carry protocol 77, and nothing else. By perl, which
# every Debian has: when a package is purged, Node and MNM are gone, and older ip(8) does not see
# the protocol of addresses. Numbers are those of linux/netlink.h and linux/rtnetlink.h.
use strict;
use warnings;

my $PROTOCOL = 77;
my ($F_REQUEST, $F_ACK, $F_DUMP) = (0x1, 0x4, 0x300);
my ($NLMSG_ERROR, $NLMSG_DONE) = (2, 3);
my $failed = 0;
my $seq = 0;

socket(my $netlink, 16, 3, 0) or die "netlink: $!\n"; # AF_NETLINK, SOCK_RAW, NETLINK_ROUTE

# What follows a message or an attribute of this length: they begin at multiples of four.
sub after {
  my ($bytes, $length) = @_;
  my $step = ($length + 3) & ~3;
  return $step < length($bytes) ? substr($bytes, $step) : "";
}

sub request {
  my ($type, $flags, $payload) = @_;
  my $message = pack("L S S L L", 16 + length $payload, $type, $flags | $F_REQUEST, ++$seq, 0);
  defined send($netlink, $message . $payload, 0) or die "netlink: $!\n";
  my @payloads;
  while (1) {
    defined recv($netlink, my $buffer, 1 << 18, 0) or die "netlink: $!\n";
    while (length $buffer >= 16) {
      my ($length, $kind) = unpack("L S", $buffer);
      last if $length < 16;
      my $body = substr($buffer, 16, $length - 16);
      $buffer = after($buffer, $length);
      return @payloads if $kind == $NLMSG_DONE;
      if ($kind == $NLMSG_ERROR) {
        my $errno = -unpack("l", $body);
        # Gone meanwhile: ESRCH, ENODEV, ENOENT, EADDRNOTAVAIL.
        return @payloads if grep { $errno == $_ } 0, 3, 19, 2, 99;
        $! = $errno;
        warn "netlink: $!\n";
        $failed = 1;
        return @payloads;
      }
      push @payloads, $body;
    }
  }
}

# The value of an attribute of one byte, or -1.
sub byte_attribute {
  my ($attributes, $wanted) = @_;
  while (length $attributes >= 4) {
    my ($length, $type) = unpack("S S", $attributes);
    last if $length < 4;
    return unpack("C", substr($attributes, 4, 1)) if $type == $wanted;
    $attributes = after($attributes, $length);
  }
  return -1;
}

my @kinds = (
  # RTM_GETRULE, RTM_DELRULE, struct fib_rule_hdr, FRA_PROTOCOL
  [34, 33, 12, sub { byte_attribute(substr($_[0], 12), 21) }],
  # RTM_GETROUTE, RTM_DELROUTE, struct rtmsg, its rtm_protocol
  [26, 25, 12, sub { unpack("C", substr($_[0], 5, 1)) }],
  # RTM_GETADDR, RTM_DELADDR, struct ifaddrmsg, IFA_PROTO
  [22, 21, 8, sub { byte_attribute(substr($_[0], 8), 11) }],
);
for my $kind (@kinds) {
  my ($get, $delete, $size, $protocol_of) = @$kind;
  my $ipv4 = pack("C", 2) . "\0" x ($size - 1);
  my @owned = grep { $protocol_of->($_) == $PROTOCOL } request($get, $F_DUMP, $ipv4);
  # The last first: with a primary address its secondary ones may go.
  for my $payload (reverse @owned) {
    # What it says of its next hop just now (RTNH_F_DEAD, RTNH_F_LINKDOWN) is not part of a route.
    substr($payload, 8, 4) = pack("L", 0) if $delete == 25;
    request($delete, $F_ACK, $payload);
  }
}
exit $failed;
