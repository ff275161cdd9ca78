/* For tests: a second after a datagram its sender is told that it has been heard,
 * from a timer. What a version of schema 1 kept counts up by 100. */
#define PFM_TIMERS
#define PFM_MIGRATES
#include "../../../pfm/c/pfm.h"

static struct pfm_ip back;
static pfm_u16 ports[2];

int pfm_configure(pfm_u32 handle, pfm_u32 function)
{
	(void)handle;
	(void)function;
	return 0;
}

int pfm_migrate(pfm_u32 what, pfm_u32 schema, pfm_u8 *kept, pfm_u32 length)
{
	(void)what;
	(void)length;
	if (schema != 1)
		return 1;
	kept[0] += 100;
	return 0;
}

void pfm_process(struct pfm_packet *p)
{
	pfm_rebuild(0);
	if (!(p->flags & PFM_HAS_CONN))
		pfm_connection(0, 0, 60000000000ull);
	p->storage[0]++;
	pfm_out_payload(0, p->storage, 1);
	back.version = p->version;
	back.ttl = 64;
	__builtin_memcpy(back.src, p->dst, 16);
	__builtin_memcpy(back.dst, p->src, 16);
	ports[0] = p->dst_port;
	ports[1] = p->src_port;
	pfm_timer(p->handle, 1000000000ull);
	pfm_accept(p);
}

void pfm_due(pfm_u32 handle)
{
	(void)handle;
	pfm_out_ip(PFM_EXTRA, &back);
	pfm_out_udp(PFM_EXTRA, ports[0], ports[1]);
	pfm_out_payload(PFM_EXTRA, "heard", 5);
	pfm_emit(PFM_EXTRA);
}
