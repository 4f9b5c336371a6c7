# shellcheck shell=sh
# How the processor counts, by the tool for that, with the parameter off and on: for
# tests/silicon.t.
tool=/machine/files/mediated-pmu-silicon
for on in 0 1; do
	kvm_load enable_mediated_pmu=$on
	$tool --json >/tmp/silicon.json
	echo "silicon $on $? $(tr -d '\n' </tmp/silicon.json)"
done
diag "$($tool)"
