// SPDX-License-Identifier: GPL-2.0
/*
 * The last program of a run.  "mexit STATUS" (L1) prints the end marker on
 * standard output and powers off; "mexit --reboot" (L2) resets, which ends QEMU
 * under -no-reboot.  Either waits until the serial ports have sent what they
 * hold: power-off does not.
 */
#define TCSBRK 0x5409	/* tcdrain() */

static void drain(int fd)
{
	if (fd >= 0)
		ioctl(fd, TCSBRK, (void *)1);
}

int main(int argc, char **argv)
{
	int reset = argc > 1 && !strcmp(argv[1], "--reboot");

	if (!reset)
		printf("MACHINE-EXIT %d\n", argc > 1 ? atoi(argv[1]) : 255);
	drain(1);
	drain(open("/dev/ttyS0", O_WRONLY | O_NOCTTY));
	reboot(reset ? LINUX_REBOOT_CMD_RESTART : LINUX_REBOOT_CMD_POWER_OFF);
	perror("mexit");
	return 1;
}
