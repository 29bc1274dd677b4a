# Sourced by the shell that runs examples: servers r1 to r4, and what the commands of the
# examples need.

cd /stage
servers=(r1 r2 r3 r4)

# address prints the address of a server. /etc/hosts has the names.
address() { echo "127.0.0.$((${1#r} + 1))"; }

# start starts a server with what it had, and waits for it.
start() {
	mkdir -p "/stage/$1"
	redis-server --bind "$(address "$1")" --port 6379 --protected-mode no --dir "/stage/$1" --pidfile "/stage/$1/pid" \
		--save '' --appendonly yes --appendfsync always --daemonize yes >/dev/null
	until [[ $(redis-cli -h "$1" ping 2>/dev/null) == PONG ]]; do sleep 0.02; done
}

# stop stops a server as its machine does, and waits until it is gone.
stop() {
	local pid
	pid=$(<"/stage/$1/pid")
	kill -CONT "$pid" && kill "$pid"
	while [[ -e /proc/$pid ]]; do sleep 0.02; done
}

# empty starts a server that was stopped, without its data.
empty() {
	rm -rf "/stage/$1"
	start "$1"
}

hang() { kill -STOP "$(<"/stage/$1/pid")"; }
resume() { kill -CONT "$(<"/stage/$1/pid")"; }

# held waits until the same holder has a lock on each of the servers, by default r1. A key
# that merely exists may be from an attempt of somebody else.
held() {
	local on=("${@:2}") server value
	[[ ${#on[@]} -gt 0 ]] || on=(r1)
	while :; do
		value=$(redis-cli -h "${on[0]}" get "$1")
		for server in "${on[@]}"; do
			[[ -n $value && $(redis-cli -h "$server" get "$1") == "$value" ]] || { sleep 0.02; continue 2; }
		done
		return
	done
}

# clear starts the servers that are down, and empties all.
clear() {
	local server
	for server in "${servers[@]}"; do
		if [[ ! -e /stage/$server/pid || ! -e /proc/$(<"/stage/$server/pid") ]]; then start "$server"; fi
		resume "$server"
		redis-cli -h "$server" flushall >/dev/null
		redis-cli -h "$server" acl deluser locks >/dev/null
	done
}

# The commands of the examples.
mkdir -p bin
export PATH=/stage/bin:$PATH
for name in bin/make bin/dump bin/report bin/jq ./deploy.sh ./backup.sh ./sync.sh ./export.sh ./report.sh ./scheduler.sh; do
	[[ -e $name ]] || printf '#!/bin/sh\necho "%s: done"\n' "${name##*/}" >"$name"
	chmod +x "$name"
done
