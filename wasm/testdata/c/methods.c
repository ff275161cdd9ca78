/* Lets clients read, and counts their requests, in C: for the test of the kit. */
#define PFM_STARTS
#define PFM_MESSAGES
#include "../../../pfm/c/pfm.h"

static pfm_u32 reason_method;

void pfm_start(void)
{
	static const char json[] = "{\"name\":\"methods.refused\",\"field\":\"http.method\",\"doc\":\"it changes something\"}";
	reason_method = pfm_reason(json, sizeof json - 1);
}

int pfm_configure(pfm_u32 handle, pfm_u32 function)
{
	(void)handle;
	return (int)function;
}

void pfm_judge(struct pfm_message *m)
{
	char method[8];
	if (m->phase == PFM_REQUEST) {
		int n = pfm_text(PFM_METHOD, method, sizeof method);
		if (n != 3 || method[0] != 'G' || method[1] != 'E' || method[2] != 'T') {
			pfm_deny(m, reason_method, 405);
			return;
		}
		m->storage[0] = (pfm_u8)(m->storage[0] < '0' ? '1' : m->storage[0] + 1);
		if (pfm_field("Do", 2, 0, method, sizeof method) > 0)
			pfm_set_field("Do", 2, (const char *)m->storage, 1);
		pfm_want_body(100, 1);
	}
	if (m->phase == PFM_RESPONSE)
		pfm_want_body(1000, 1);
	if (m->phase == PFM_RESPONSE_BODY && m->body_len > 3 && m->storage[0] != '2')
		pfm_set_body("short", 5);
	pfm_pass(m);
}
