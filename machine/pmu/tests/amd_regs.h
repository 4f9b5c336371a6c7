/* SPDX-License-Identifier: GPL-2.0 */
/* The MSRs of the AMD models, for their tests. */
#define CTL(n)		(0xc0010200 + 2 * (n))
#define CTR(n)		(0xc0010201 + 2 * (n))
#define STATUS		0xc0000300
#define GLOBAL_CTL	0xc0000301
#define STATUS_CLR	0xc0000302
#define STATUS_SET	0xc0000303
