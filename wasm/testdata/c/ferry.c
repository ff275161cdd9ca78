/* Hands a stream on in capitals, and resets it at a question mark, in C: for the
 * test of the kit. */
#define PFM_STARTS
#define PFM_STREAMS
#include "../../../pfm/c/pfm.h"

static pfm_u32 reason_question;

void pfm_start(void)
{
	static const char json[] = "{\"name\":\"ferry.question\",\"field\":\"stream\",\"doc\":\"a question mark\"}";
	reason_question = pfm_reason(json, sizeof json - 1);
}

int pfm_configure(pfm_u32 handle, pfm_u32 function)
{
	(void)handle;
	return (int)function;
}

void pfm_flow(struct pfm_stream *s)
{
	char b[64];
	pfm_u32 done = 0;
	pfm_go_on(s);
	while (s->dir == 0 && done < s->payload_len) {
		int n = pfm_payload(0, done, b, sizeof b);
		for (int i = 0; i < n; i++) {
			if (b[i] == '?') {
				pfm_reset(s, reason_question);
				return;
			}
			if (b[i] >= 'a' && b[i] <= 'z')
				b[i] = (char)(b[i] - 'a' + 'A');
		}
		pfm_send_bytes(b, (pfm_u32)n);
		pfm_skip_bytes((pfm_u32)n);
		done += (pfm_u32)n;
	}
	if (s->dir == 1)
		pfm_pass_bytes(s->payload_len);
}
