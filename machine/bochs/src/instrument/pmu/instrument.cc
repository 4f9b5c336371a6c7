/* SPDX-License-Identifier: GPL-2.0 */
/* Everything is in the macros of instrument.h. */
