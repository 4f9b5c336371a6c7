# shellcheck shell=sh
# Each command of the page for users of guests, in a guest.  It has to succeed, to say
# something, and to have counted what it was asked for.
mkdir -p /tmp/files/usr/bin
cp /machine/files/mediated-pmu-check /tmp/files/usr/bin/
sed -n '/^```sh$/,/^```$/ { /^```/d; p }' /machine/files/guest.md >/tmp/commands
check "the page has commands: $(wc -l </tmp/commands)" [ "$(wc -l </tmp/commands)" -ge 10 ]
guest_start g --files /tmp/files
while read -r command <&3; do
	guest g "$command" >/tmp/out 2>&1
	status=$?
	# What some CPUs lack is said in the page: a mere exit status tells of that.
	case $command in mediated-pmu-check*) [ $status != 1 ] || status=0 ;; esac
	is $status 0 "$command"
	check "... says something" [ -s /tmp/out ]
	is "$(grep -c '<not\|no samples\|has no samples' /tmp/out)" 0 "... and nothing is missing"
	diag "$(head -n 30 /tmp/out)"
done 3</tmp/commands
kill "$guest_pid"
wait
