// Package rules selects packets in the kernel: one nftables table of our own,
// `inet promethos`, whose chains hand packets over to NFQUEUE, or after
// `on_exit: block` drop them. The rules only select; which instance a packet
// belongs to is found in user space.
//
// Compile is pure. A Ruleset goes into the kernel in one transaction that also
// replaces whatever stood under our table name before, so there is no moment in
// between in which a packet passes by.
package rules
