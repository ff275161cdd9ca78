/* For tests: payloads that begin with a byte of the settings are refused. */
#define PFM_STARTS
#include "../../../pfm/c/pfm.h"

static pfm_u32 refused;
static pfm_u8 first[16];

void pfm_start(void)
{
	static const char json[] = "{\"name\":\"nasty.first\",\"field\":\"payload\",\"doc\":\"it begins so\"}";
	refused = pfm_reason(json, sizeof json - 1);
}

int pfm_configure(pfm_u32 handle, pfm_u32 function)
{
	(void)function;
	pfm_u64 n = pfm_int(handle, "first", 5, 256);
	if (handle >= sizeof first || n > 255)
		return 1;
	first[handle] = (pfm_u8)n;
	return 0;
}

void pfm_process(struct pfm_packet *p)
{
	pfm_u8 byte = 0;
	pfm_rebuild(0);
	if (pfm_payload(0, 0, &byte, 1) == 1 && byte == first[p->handle])
		pfm_refuse(p, refused, byte);
	else
		pfm_accept(p);
}
