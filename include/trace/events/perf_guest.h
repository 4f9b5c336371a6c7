/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM perf_guest

#if !defined(_TRACE_PERF_GUEST_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PERF_GUEST_H

#include <linux/tracepoint.h>

#ifndef _TRACE_PERF_GUEST_REFUSED
#define _TRACE_PERF_GUEST_REFUSED
/* An event of a CPU or cgroup; an event of a thread that runs vCPUs; a VM. */
enum perf_guest_refused {
	PERF_GUEST_REFUSED_EVENT,
	PERF_GUEST_REFUSED_THREAD,
	PERF_GUEST_REFUSED_VM,
};
#endif

TRACE_DEFINE_ENUM(PERF_GUEST_REFUSED_EVENT);
TRACE_DEFINE_ENUM(PERF_GUEST_REFUSED_THREAD);
TRACE_DEFINE_ENUM(PERF_GUEST_REFUSED_VM);

/*
 * The current task cannot have an event that includes guests, or a mediated PMU for a VM.
 * @owner is the process of one of the @nr VMs or events that are in the way, in the
 * initial pid namespace.
 */
TRACE_EVENT(perf_guest_refused,
	    TP_PROTO(enum perf_guest_refused what, const char *comm, pid_t owner, int nr),
	    TP_ARGS(what, comm, owner, nr),
	    TP_STRUCT__entry(__field(int, what)
			     __string(comm, comm)
			     __field(pid_t, owner)
			     __field(int, nr)),
	    TP_fast_assign(__entry->what = what;
			   __assign_str(comm);
			   __entry->owner = owner;
			   __entry->nr = nr;),
	    TP_printk("what=%s comm=%s owner=%d nr=%d",
		      __print_symbolic(__entry->what,
				       { PERF_GUEST_REFUSED_EVENT,	"event" },
				       { PERF_GUEST_REFUSED_THREAD,	"thread" },
				       { PERF_GUEST_REFUSED_VM,		"vm" }),
		      __get_str(comm), __entry->owner, __entry->nr)
);

#endif /* _TRACE_PERF_GUEST_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
