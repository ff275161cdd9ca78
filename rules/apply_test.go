package rules

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// record makes a Kernel that writes the kinds of messages of each transaction down
// and finds nothing in place; fail answers a transaction, by number.
func record(t *testing.T, fail func(transaction int) error) (*Kernel, *[]string) {
	t.Helper()
	var log []string
	conn, err := nftables.New(nftables.WithTestDial(func(req []netlink.Message) ([]netlink.Message, error) {
		if len(req) < 2 {
			return nil, nil // a list, which is empty, or an acknowledgement
		}
		log = append(log, kinds(req))
		return nil, fail(len(log))
	}))
	if err != nil {
		t.Fatal(err)
	}
	return &Kernel{conn: conn, room: socketBuffer}, &log
}

// kinds lists the kinds of messages in a transaction, repeated ones once.
func kinds(req []netlink.Message) string {
	names := map[netlink.HeaderType]string{
		unix.NFNL_MSG_BATCH_BEGIN: "begin", unix.NFNL_MSG_BATCH_END: "end",
	}
	for kind, name := range map[int]string{
		unix.NFT_MSG_NEWTABLE: "table", unix.NFT_MSG_DELTABLE: "-table", unix.NFT_MSG_NEWCHAIN: "chain", unix.NFT_MSG_NEWRULE: "rule",
		unix.NFT_MSG_DELRULE: "-rules", unix.NFT_MSG_NEWSET: "set", unix.NFT_MSG_DELSET: "-set", unix.NFT_MSG_NEWSETELEM: "elements",
	} {
		names[netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8|kind)] = name
	}
	var list []string
	for _, m := range req {
		name, ok := names[m.Header.Type]
		if !ok {
			name = fmt.Sprintf("%#x", uint16(m.Header.Type))
		}
		list = append(list, name)
	}
	return strings.Join(slices.Compact(list), " ")
}

func TestApplyTransactions(t *testing.T) {
	refused := errors.New("refused")
	never := func(int) error { return nil }
	for _, c := range []struct {
		name string
		plan Plan
		fail func(int) error
		want []string
		err  error
	}{
		{"no sets", goldenPlans[1].plan, never, []string{"begin table -rules chain rule end"}, nil},
		{"sets first", manyPlan(2, 0), never, []string{
			"begin table set elements set elements set elements set elements set elements set elements set elements set elements set elements set elements end",
			"begin table -rules chain rule set elements rule end",
		}, nil},
		{"nothing", Plan{Closed: queues}, never, []string{"begin table -rules end"}, nil},
		{"sets refused", manyPlan(2, 0), func(int) error { return refused }, []string{
			"begin table set elements set elements set elements set elements set elements set elements set elements set elements set elements set elements end",
		}, refused},
		{"rules refused", manyPlan(2, 0), func(n int) error {
			if n == 2 {
				return refused
			}
			return nil
		}, []string{
			"begin table set elements set elements set elements set elements set elements set elements set elements set elements set elements set elements end",
			"begin table -rules chain rule set elements rule end",
			"begin -set end",
		}, refused},
		{"not permitted", goldenPlans[1].plan, func(int) error { return unix.EPERM }, []string{"begin table -rules chain rule end"}, ErrNoPermission},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, log := record(t, c.fail)
			rs, err := Compile(c.plan, native)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Apply(rs); !errors.Is(err, c.err) {
				t.Errorf("got %v, want %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, *log); diff != "" {
				t.Errorf("transactions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct{ err, want error }{
		{unix.EPERM, ErrNoPermission},
		{fmt.Errorf("receive: %w", unix.EACCES), ErrNoPermission},
		{unix.EPROTONOSUPPORT, ErrNoNFTables},
		{unix.EOPNOTSUPP, ErrNoNFTables},
		{unix.EAFNOSUPPORT, ErrNoNFTables},
		{unix.EBUSY, unix.EBUSY},
	} {
		if got := explain(c.err); !errors.Is(got, c.want) {
			t.Errorf("explain(%v): got %v, want %v", c.err, got, c.want)
		}
	}
}

func TestMissing(t *testing.T) {
	got := missing("queue target", fmt.Errorf("rules: probe: %w: detail", ErrNoQueueTarget))
	want := Finding{
		Name: "queue target", Detail: "the kernel can queue from no rule",
		Fix: "CONFIG_NFT_QUEUE, or CONFIG_NFT_COMPAT with CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
