/* count in C: the same as count.go, but for the lines in the event stream. */
#include "../../../pfm/c/pfm.h"

int pfm_configure(pfm_u32 handle, pfm_u32 function)
{
	(void)handle;
	return function == 0 ? 0 : 1;
}

void pfm_process(struct pfm_packet *p)
{
	if (!(p->flags & PFM_IS_BUILT))
		pfm_rebuild(0);
	pfm_instance_add(p->handle, 0, 1);
	pfm_instance_add(p->handle, 8, p->payload_len);
	pfm_accept(p);
}
