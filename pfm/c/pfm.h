/* The kit for PromethOS modules in C. Compile with
 *
 *   clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o NAME.wasm NAME.c
 *
 * A module includes this file once and defines pfm_configure and pfm_process;
 * docs/abi.md describes what is below. There is no C library. */
#ifndef PROMETHOS_PFM_H
#define PROMETHOS_PFM_H

typedef unsigned char pfm_u8;
typedef unsigned short pfm_u16;
typedef unsigned int pfm_u32;
typedef unsigned long long pfm_u64;

#define PFM_ABI 1
#define PFM_BATCH 8 /* packets that the exchange area has room for */

/* What is received, and what the module answers. Nobody reorders fields: the
 * layout is the interface. */
struct pfm_packet {
	pfm_u32 handle;
	pfm_u8 dir; /* 0 client to server, 1 server to client */
	pfm_u8 hook;
	pfm_u16 layers;
	pfm_u64 now; /* ns since 1970 */
	pfm_u32 in_dev, out_dev;
	pfm_u8 version, protocol, ttl, tos;
	pfm_u32 flow_label;
	pfm_u16 id;
	pfm_u8 flags, tcp_flags;
	pfm_u32 payload_len;
	pfm_u8 src[16], dst[16]; /* IPv4 in the last four */
	pfm_u16 src_port, dst_port;
	pfm_u32 seq, ack;
	pfm_u16 window;
	pfm_u8 icmp_type, icmp_code;
	pfm_u16 options, mss;
	pfm_u8 wscale, num_sack, reserved0[2];
	pfm_u32 ts_val, ts_ecr, sack[4][2];
	pfm_u32 storage_len;
	pfm_u8 reserved1[20];
	pfm_u8 verdict, reserved2[3];
	pfm_u32 reason;
	pfm_u64 value;
	pfm_u8 reserved3[16];
	pfm_u8 storage[256]; /* the connection's */
	pfm_u8 reserved4[64];
};

/* A message that is judged, in the same place. */
struct pfm_message {
	pfm_u32 handle;
	pfm_u8 dir, phase, tls, minor;
	pfm_u64 now;
	pfm_u16 status, reserved0;
	pfm_u32 body_len;
	pfm_u16 client_port, server_port;
	pfm_u32 field_count;
	pfm_u8 reserved1[8], client[16], server[16]; /* IPv4 in the last four */
	pfm_u8 reserved2[64];
	pfm_u32 storage_len;
	pfm_u8 reserved3[20];
	pfm_u8 verdict, reserved4[3];
	pfm_u32 reason;
	pfm_u64 reserved5;
	pfm_u16 code;
	pfm_u8 reserved6[14];
	pfm_u8 storage[256];
	pfm_u8 reserved7[64];
};

enum { PFM_REQUEST, PFM_REQUEST_BODY, PFM_RESPONSE, PFM_RESPONSE_BODY };
enum { PFM_METHOD = 1, PFM_PATH, PFM_QUERY, PFM_HOST, PFM_ASKED_HOST };

/* What waits of a flow of a connection, in the same place. */
struct pfm_stream {
	pfm_u32 handle;
	pfm_u8 dir, event, tls, reserved0;
	pfm_u64 now;
	pfm_u64 offset; /* of the first byte that waits */
	pfm_u16 client_port, server_port;
	pfm_u8 reserved1[8];
	pfm_u32 payload_len; /* bytes that wait */
	pfm_u8 client[16], server[16]; /* IPv4 in the last four */
	pfm_u8 reserved2[64];
	pfm_u32 storage_len;
	pfm_u8 reserved3[20];
	pfm_u8 verdict, reserved4[3];
	pfm_u32 reason;
	pfm_u8 reserved5[24];
	pfm_u8 storage[256];
	pfm_u8 reserved6[64];
};

enum { PFM_DATA, PFM_END, PFM_WOKEN };

struct pfm_area {
	pfm_u32 count, stride, reserved[2];
	union {
		struct pfm_packet packets[PFM_BATCH];
		struct pfm_message message;
		struct pfm_stream stream;
	};
};

#define PFM_AT(field, offset) _Static_assert(__builtin_offsetof(struct pfm_packet, field) == offset, #field)
#define PFM_MESSAGE_AT(field, offset) _Static_assert(__builtin_offsetof(struct pfm_message, field) == offset, #field)
PFM_MESSAGE_AT(phase, 5);
PFM_MESSAGE_AT(status, 16);
PFM_MESSAGE_AT(body_len, 20);
PFM_MESSAGE_AT(client, 40);
PFM_MESSAGE_AT(storage_len, 136);
PFM_MESSAGE_AT(verdict, 160);
PFM_MESSAGE_AT(code, 176);
PFM_MESSAGE_AT(storage, 192);
_Static_assert(sizeof(struct pfm_message) == 512, "descriptor of a message");
#define PFM_STREAM_AT(field, offset) _Static_assert(__builtin_offsetof(struct pfm_stream, field) == offset, #field)
PFM_STREAM_AT(event, 5);
PFM_STREAM_AT(offset, 16);
PFM_STREAM_AT(client_port, 24);
PFM_STREAM_AT(payload_len, 36);
PFM_STREAM_AT(client, 40);
PFM_STREAM_AT(storage_len, 136);
PFM_STREAM_AT(verdict, 160);
PFM_STREAM_AT(storage, 192);
_Static_assert(sizeof(struct pfm_stream) == 512, "descriptor of a stream");
PFM_AT(now, 8);
PFM_AT(payload_len, 36);
PFM_AT(src, 40);
PFM_AT(src_port, 72);
PFM_AT(options, 88);
PFM_AT(ts_val, 96);
PFM_AT(storage_len, 136);
PFM_AT(verdict, 160);
PFM_AT(value, 168);
PFM_AT(storage, 192);
_Static_assert(sizeof(struct pfm_packet) == 512, "descriptor");
_Static_assert(sizeof(struct pfm_area) == 16 + PFM_BATCH * 512, "exchange area");

enum { PFM_ETHERNET = 1, PFM_VLAN = 2, PFM_ARP = 4, PFM_IPV4 = 8, PFM_IPV6 = 16, PFM_FRAGMENT = 32, PFM_TCP = 64, PFM_UDP = 128, PFM_ICMPV4 = 256, PFM_ICMPV6 = 512 };
enum { PFM_DF = 1, PFM_IS_FRAGMENT = 2, PFM_HAS_CONN = 4, PFM_ICMP_ERROR = 8, PFM_IS_BUILT = 16 };
enum { PFM_FIN = 1, PFM_SYN = 2, PFM_RST = 4, PFM_PSH = 8, PFM_ACK = 16 };

struct pfm_ip {
	pfm_u8 version, ttl, tos, df;
	pfm_u32 flow_label;
	pfm_u16 id;
	pfm_u8 protocol, reserved[5];
	pfm_u8 src[16], dst[16];
};
_Static_assert(sizeof(struct pfm_ip) == 48, "pfm_ip");

struct pfm_tcp {
	pfm_u16 src_port, dst_port;
	pfm_u32 seq, ack;
	pfm_u16 window;
	pfm_u8 flags, wscale;
	pfm_u16 options, mss;
	pfm_u8 num_sack, reserved[3];
	pfm_u32 ts_val, ts_ecr, sack[4][2], reserved1[2];
};
_Static_assert(sizeof(struct pfm_tcp) == 72, "pfm_tcp");

#define PFM_EXTRA 0xffffffffu /* the packet that pfm_emit sends */
#define PFM_CALL(name) __attribute__((import_module("promethos"), import_name(name)))
#define PFM_EXPORT(name) __attribute__((export_name(name)))

PFM_CALL("reason") pfm_u32 pfm_reason(const char *json, pfm_u32 length);
PFM_CALL("setting") int pfm_setting(pfm_u32 handle, const char *path, pfm_u32 path_length, void *to, pfm_u32 room);
PFM_CALL("payload") int pfm_call_payload(pfm_u32 n, pfm_u32 from, void *to, pfm_u32 room);
PFM_CALL("rebuild") int pfm_call_rebuild(pfm_u32 n);
PFM_CALL("out_ip") int pfm_call_out_ip(pfm_u32 n, const struct pfm_ip *h);
PFM_CALL("out_tcp") int pfm_call_out_tcp(pfm_u32 n, const struct pfm_tcp *h);
PFM_CALL("out_udp") int pfm_call_out_udp(pfm_u32 n, pfm_u32 src, pfm_u32 dst);
PFM_CALL("out_echo") int pfm_call_out_echo(pfm_u32 n, pfm_u32 version, pfm_u32 request, pfm_u32 id, pfm_u32 seq);
PFM_CALL("out_payload") int pfm_call_out_payload(pfm_u32 n, const void *at, pfm_u32 length);
PFM_CALL("out_received") int pfm_call_out_received(pfm_u32 n, pfm_u32 from, pfm_u32 length);
PFM_CALL("finding") int pfm_call_finding(pfm_u32 n, pfm_u32 reason, pfm_u64 value);
PFM_CALL("log") void pfm_log(const char *text, pfm_u32 length);
PFM_CALL("emit") int pfm_call_emit(pfm_u32 n);
PFM_CALL("connection") int pfm_call_connection(pfm_u32 n, pfm_u32 limit, pfm_u64 idle);
PFM_CALL("deadline") int pfm_call_deadline(pfm_u32 n, pfm_u64 idle);
PFM_CALL("instance_read") int pfm_instance_read(pfm_u32 handle, pfm_u32 from, void *to, pfm_u32 length);
PFM_CALL("instance_write") int pfm_instance_write(pfm_u32 handle, pfm_u32 from, const void *at, pfm_u32 length);
PFM_CALL("instance_add") pfm_u64 pfm_instance_add(pfm_u32 handle, pfm_u32 at, pfm_u64 delta);
PFM_CALL("timer") int pfm_timer(pfm_u32 handle, pfm_u64 after);
PFM_CALL("shared_get") int pfm_shared_get(const char *name, pfm_u32 length, void *to, pfm_u32 room);
PFM_CALL("shared_set") int pfm_shared_set(const char *name, pfm_u32 length, const void *at, pfm_u32 value_length);
PFM_CALL("data_has") int pfm_data_has(const char *name, pfm_u32 length, const void *key, pfm_u32 key_length);

PFM_CALL("text") int pfm_text(pfm_u32 what, void *to, pfm_u32 room);
PFM_CALL("set_method") int pfm_set_method(const char *at, pfm_u32 length);
PFM_CALL("set_target") int pfm_set_target(const char *path, pfm_u32 path_length, const char *query, pfm_u32 query_length);
PFM_CALL("set_host") int pfm_set_host(const char *at, pfm_u32 length, pfm_u32 port);
PFM_CALL("set_status") int pfm_set_status(pfm_u32 code);
PFM_CALL("field") int pfm_field(const char *name, pfm_u32 length, pfm_u32 index, void *to, pfm_u32 room);
PFM_CALL("field_at") pfm_u64 pfm_field_at(pfm_u32 index, void *name, pfm_u32 name_room, void *value, pfm_u32 value_room);
PFM_CALL("set_field") int pfm_set_field(const char *name, pfm_u32 length, const char *value, pfm_u32 value_length);
PFM_CALL("add_field") int pfm_add_field(const char *name, pfm_u32 length, const char *value, pfm_u32 value_length);
PFM_CALL("remove_field") int pfm_remove_field(const char *name, pfm_u32 length);
PFM_CALL("want_body") int pfm_want_body(pfm_u32 limit, pfm_u32 need);
PFM_CALL("body") int pfm_body(pfm_u32 from, void *to, pfm_u32 room);
PFM_CALL("set_body") int pfm_set_body(const void *at, pfm_u32 length);

PFM_CALL("pass") int pfm_pass_bytes(pfm_u32 length);
PFM_CALL("skip") int pfm_skip_bytes(pfm_u32 length);
PFM_CALL("send") int pfm_send_bytes(const void *at, pfm_u32 length);
PFM_CALL("reply") int pfm_reply_bytes(const void *at, pfm_u32 length);
PFM_CALL("deny") int pfm_deny_bytes(pfm_u32 reason); /* 1: skip them, 0: pass them */
PFM_CALL("wake") int pfm_wake(pfm_u64 after);

/* The module's own. It works on packets, unless it defines PFM_MESSAGES or
 * PFM_STREAMS before it includes this; PFM_PACKETS beside them says that it works
 * on packets too. */
#if !defined PFM_MESSAGES && !defined PFM_STREAMS
#define PFM_PACKETS
#endif
int pfm_configure(pfm_u32 handle, pfm_u32 function); /* 0, or a code that refuses the settings */
void pfm_process(struct pfm_packet *p);              /* ends with pfm_accept or pfm_refuse */
void pfm_judge(struct pfm_message *m);               /* ends with pfm_pass or pfm_deny */
void pfm_flow(struct pfm_stream *s);                 /* ends with pfm_go_on, pfm_reset or pfm_close */

static struct pfm_area pfm_area;

/* A call of the host may be about several packets. The author's code sees one after
 * the other, and 0 is the number of the one that it is judging. */
static pfm_u32 pfm_judging;
static inline pfm_u32 pfm_number(pfm_u32 n) { return n == PFM_EXTRA ? n : pfm_judging; }
static inline int pfm_payload(pfm_u32 n, pfm_u32 from, void *to, pfm_u32 room) { return pfm_call_payload(pfm_number(n), from, to, room); }
static inline int pfm_rebuild(pfm_u32 n) { return pfm_call_rebuild(pfm_number(n)); }
static inline int pfm_out_ip(pfm_u32 n, const struct pfm_ip *h) { return pfm_call_out_ip(pfm_number(n), h); }
static inline int pfm_out_tcp(pfm_u32 n, const struct pfm_tcp *h) { return pfm_call_out_tcp(pfm_number(n), h); }
static inline int pfm_out_udp(pfm_u32 n, pfm_u32 src, pfm_u32 dst) { return pfm_call_out_udp(pfm_number(n), src, dst); }
static inline int pfm_out_echo(pfm_u32 n, pfm_u32 version, pfm_u32 request, pfm_u32 id, pfm_u32 seq) { return pfm_call_out_echo(pfm_number(n), version, request, id, seq); }
static inline int pfm_out_payload(pfm_u32 n, const void *at, pfm_u32 length) { return pfm_call_out_payload(pfm_number(n), at, length); }
static inline int pfm_out_received(pfm_u32 n, pfm_u32 from, pfm_u32 length) { return pfm_call_out_received(pfm_number(n), from, length); }
static inline int pfm_finding(pfm_u32 n, pfm_u32 reason, pfm_u64 value) { return pfm_call_finding(pfm_number(n), reason, value); }
static inline int pfm_connection(pfm_u32 n, pfm_u32 limit, pfm_u64 idle) { return pfm_call_connection(pfm_number(n), limit, idle); }
static inline int pfm_deadline(pfm_u32 n, pfm_u64 idle) { return pfm_call_deadline(pfm_number(n), idle); }
static inline int pfm_emit(pfm_u32 n) { return pfm_call_emit(pfm_number(n)); }

static inline void pfm_accept(struct pfm_packet *p) { p->verdict = 1; }

static inline void pfm_refuse(struct pfm_packet *p, pfm_u32 reason, pfm_u64 value)
{
	p->verdict = 0;
	p->reason = reason;
	p->value = value;
}

static inline void pfm_pass(struct pfm_message *m) { m->verdict = 1; }

static inline void pfm_deny(struct pfm_message *m, pfm_u32 reason, pfm_u16 code)
{
	m->verdict = 0;
	m->reason = reason;
	m->code = code;
}

static inline void pfm_go_on(struct pfm_stream *s) { s->verdict = 1; }

static inline void pfm_close(struct pfm_stream *s) { s->verdict = 2; }

static inline void pfm_reset(struct pfm_stream *s, pfm_u32 reason)
{
	s->verdict = 0;
	s->reason = reason;
}

/* A module that has reasons defines PFM_STARTS and pfm_start, which registers
 * them. */
#ifdef PFM_STARTS
void pfm_start(void);
#else
static inline void pfm_start(void) {}
#endif

PFM_EXPORT("promethos_abi") pfm_u32 pfm_export_abi(void)
{
	pfm_start();
	return PFM_ABI;
}

PFM_EXPORT("promethos_area") pfm_u32 pfm_export_area(void) { return (pfm_u32)&pfm_area; }

PFM_EXPORT("promethos_configure") pfm_u32 pfm_export_configure(pfm_u32 handle, pfm_u32 function)
{
	return (pfm_u32)pfm_configure(handle, function);
}

#ifdef PFM_PACKETS
PFM_EXPORT("promethos_batch") pfm_u32 pfm_export_batch(void) { return PFM_BATCH; }

PFM_EXPORT("promethos_process") void pfm_export_process(pfm_u32 count)
{
	for (pfm_judging = 0; pfm_judging < count && pfm_judging < PFM_BATCH; pfm_judging++) {
		struct pfm_packet *p = &pfm_area.packets[pfm_judging];
		for (pfm_u32 i = 0; pfm_judging > 0 && i < p->storage_len; i++) { /* they are of one connection */
			p->storage[i] = p[-1].storage[i];
			__asm__ volatile("" ::: "memory"); /* or it becomes a call of memcpy, which is not there */
		}
		pfm_process(p);
	}
	pfm_judging = 0;
}
#endif

#ifdef PFM_MESSAGES
PFM_EXPORT("promethos_message") void pfm_export_message(pfm_u32 count)
{
	(void)count;
	pfm_judge(&pfm_area.message);
}
#endif

#ifdef PFM_STREAMS
PFM_EXPORT("promethos_stream") void pfm_export_stream(pfm_u32 count)
{
	(void)count;
	pfm_flow(&pfm_area.stream);
}
#endif

/* A module with the capability timers may define PFM_TIMERS and pfm_due, which is
 * called when the time of pfm_timer has passed; and one whose storage has another
 * layout than an older version's PFM_MIGRATES and pfm_migrate: 256 bytes of that
 * schema are at kept, and length bytes of this one take their place. It gives 0, or
 * 1 where it cannot. */
#ifdef PFM_TIMERS
void pfm_due(pfm_u32 handle);
PFM_EXPORT("promethos_timer") void pfm_export_timer(pfm_u32 handle) { pfm_due(handle); }
#endif
#ifdef PFM_MIGRATES
int pfm_migrate(pfm_u32 what, pfm_u32 schema, pfm_u8 *kept, pfm_u32 length);
PFM_EXPORT("promethos_migrate") pfm_u32 pfm_export_migrate(pfm_u32 what, pfm_u32 schema, pfm_u8 *kept, pfm_u32 length)
{
	return (pfm_u32)pfm_migrate(what, schema, kept, length);
}
#endif

/* pfm_int gives a setting that is a whole number and not negative, or other. */
static inline pfm_u64 pfm_int(pfm_u32 handle, const char *path, pfm_u32 path_length, pfm_u64 other)
{
	char digits[20];
	int n = pfm_setting(handle, path, path_length, digits, sizeof digits);
	pfm_u64 v = 0;
	if (n <= 0 || n > (int)sizeof digits)
		return other;
	for (int i = 0; i < n; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return other;
		v = v * 10 + (pfm_u64)(digits[i] - '0');
	}
	return v;
}

#endif
