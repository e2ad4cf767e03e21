# SPDX-License-Identifier: Apache-2.0
# Completion of kvring for bash. Options come from the command's own --help,
# so that they cannot be out of date.

_kvring_options() { # command
	kvring "$1" --help 2>/dev/null | grep -oE -- '--[a-z0-9-]+' | sort -u
}

_kvring_transports() {
	kvring info 2>/dev/null | awk '$1 == "transport" { print $2 }'
}

# Words after an option that takes one of a few values; fails for others.
_kvring_values() { # option
	case "$1" in
	--partition) echo contiguous zigzag interleave ;;
	--dtype) echo f32 bf16 f16 ;;
	--kv-wire) echo input fp8 ;;
	--transport) _kvring_transports ;;
	*) return 1 ;;
	esac
}

_kvring_words() { # words, current: sets COMPREPLY
	mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}

# Everything after the program of `kvring run` is the program's own.
_kvring_run_program() {
	local i
	for ((i = 2; i < COMP_CWORD; i++)); do
		case "${COMP_WORDS[i]}" in
		-n | --ranks | --timeout) ((i++)) ;;
		--) return 0 ;;
		-* | = | [0-9]*) ;;
		*) return 0 ;;
		esac
	done
	return 1
}

_kvring() {
	local current=${COMP_WORDS[COMP_CWORD]}
	local previous=${COMP_WORDS[COMP_CWORD - 1]} values
	local commands="attention random run explain info doctor bench help"

	COMPREPLY=()
	# Bash splits --option=value at the =.
	if [ "$current" = = ]; then
		current=
	elif [ "$previous" = = ]; then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	if [ "$COMP_CWORD" -eq 1 ]; then
		_kvring_words "$commands --help --usage --version" "$current"
	elif [ "${COMP_WORDS[1]}" = help ]; then
		_kvring_words "$commands" "$current"
	elif [ "${COMP_WORDS[1]}" = bench ] && [ "$COMP_CWORD" -eq 2 ] &&
		[[ $current != -* ]]; then
		_kvring_words "lat bw credit pass overlap" "$current"
	elif [ "${COMP_WORDS[1]}" = run ] && _kvring_run_program; then
		mapfile -t COMPREPLY < <(compgen -c -f -- "$current")
	elif values=$(_kvring_values "$previous"); then
		_kvring_words "$values" "$current"
	elif [[ $current == -* ]]; then
		_kvring_words "$(_kvring_options "${COMP_WORDS[1]}")" \
			"$current"
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
	fi
}

complete -o filenames -F _kvring kvring
