// Package rules selects packets in the kernel: one nftables table of our own,
// `inet promethos`, whose chains hand packets over to NFQUEUE, or after
// `on_exit: block` drop them. The rules only select, and select rather too much
// than too little; which instance a packet belongs to is found in user space.
//
// Compile is pure. A Ruleset goes into the kernel in one transaction that also
// replaces whatever stood under our table name before, so there is no moment in
// between in which a packet passes by. docs/hooks.md says where the chains stand
// and what the operator's own rules see before and after them.
//
// Selection needs Linux 5.6 (sets of concatenated intervals).
package rules
