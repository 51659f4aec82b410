//go:build linux

package emulate

import "oubliette/emulate/vnet"

// netRows are /proc/PID/net, which is the same for every process.
func (k *proc) netRows() (rows []*procRow) {
	for _, f := range vnet.ProcFiles() {
		rows = append(rows, &procRow{name: f.Name, mode: 0o444,
			text: func(procAt) ([]byte, error) { return []byte(f.Text(&k.s.net)), nil }})
	}
	return rows
}

// netSysRows are /proc/sys/net, ip-sysctl.rst: what the jail's network does, or
// would do if it had a wire.
func netSysRows(dir func(string, ...*procRow) *procRow, is func(string, any) *procRow) []*procRow {
	devices := func(rows func() []*procRow) *procRow {
		return dir("conf", dir("all", rows()...), dir("default", rows()...), dir("lo", rows()...))
	}
	return []*procRow{
		dir("core", is("netdev_max_backlog", 1000), is("optmem_max", maxControl), is("rmem_default", 212992), is("rmem_max", 4<<20),
			is("somaxconn", 4096), is("wmem_default", 212992), is("wmem_max", 4<<20)),
		dir("ipv4",
			devices(func() []*procRow {
				return []*procRow{is("accept_redirects", 1), is("arp_ignore", 0), is("forwarding", 0), is("log_martians", 0),
					is("route_localnet", 0), is("rp_filter", 0)}
			}),
			is("ip_default_ttl", 64), is("ip_forward", 0), is("ip_local_port_range", "32768\t60999"), is("ip_local_reserved_ports", ""),
			is("ip_nonlocal_bind", 0), is("ip_unprivileged_port_start", 0), is("ping_group_range", "1\t0"),
			is("tcp_available_congestion_control", "reno cubic"), is("tcp_allowed_congestion_control", "reno cubic"),
			is("tcp_congestion_control", "cubic"), is("tcp_ecn", 2), is("tcp_fastopen", 1), is("tcp_fin_timeout", 60),
			is("tcp_keepalive_intvl", 75), is("tcp_keepalive_probes", 9), is("tcp_keepalive_time", 7200),
			is("tcp_max_syn_backlog", 2048), is("tcp_max_tw_buckets", 131072), is("tcp_mem", "190776\t254369\t381552"),
			is("tcp_mtu_probing", 0), is("tcp_retries1", 3), is("tcp_retries2", 15), is("tcp_rmem", "4096\t131072\t6291456"),
			is("tcp_sack", 1), is("tcp_slow_start_after_idle", 1), is("tcp_syn_retries", 6), is("tcp_synack_retries", 5),
			is("tcp_syncookies", 1), is("tcp_timestamps", 1), is("tcp_tw_reuse", 2), is("tcp_window_scaling", 1),
			is("tcp_wmem", "4096\t16384\t4194304"), is("udp_rmem_min", 4096), is("udp_wmem_min", 4096)),
		dir("ipv6", is("bindv6only", 0), devices(func() []*procRow {
			return []*procRow{is("accept_ra", 1), is("disable_ipv6", 0), is("forwarding", 0)}
		})),
		dir("unix", is("max_dgram_qlen", 10)),
	}
}
