// Package nfqueue is the source for packets of any netfilter hook: NFQUEUE,
// spoken over netlink with our own code (include/uapi/linux/netfilter/
// nfnetlink_queue.h, net/netfilter/nfnetlink_queue.c).
//
// One worker per queue reads up to 64 packets with one system call, lets its
// handler decide them, and sends the verdicts in order with as few calls. A
// packet that is sent goes to the kernel as the headers our encoder wrote and a
// reference to the received payload; user space copies no payload.
package nfqueue
