# SPDX-License-Identifier: BSD-3-Clause
# Sourced: unpack a Debian package into the cache without installing it. Package lists come from
# the system; where they lack the package, private lists under the cache are used, so that
# neither /etc nor the system's apt state changes and no root is needed.
# shellcheck shell=bash

deb_apt_options=()
# Packages of another architecture than this machine's come through private lists only.
deb_arch=''

# The private state shares the system's sources and nothing else. A day is young enough for its lists.
deb_use_private_lists() {
	local dir=$1/apt${deb_arch:+-$deb_arch}
	mkdir -p "$dir/lists/partial" "$dir/archives/partial"
	deb_apt_options=(-o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir"
		-o APT::Sandbox::User=root)
	if [ -n "$deb_arch" ]; then
		: >"$dir/status"
		deb_apt_options+=(-o "APT::Architecture=$deb_arch" -o "APT::Architectures=$deb_arch"
			-o "Dir::State::status=$dir/status")
	fi
	[ -z "$(find "$dir/updated" -mmin -1440 2>/dev/null)" ] || return 0
	apt-get -q "${deb_apt_options[@]}" update >"$dir/update.log" 2>&1 && : >"$dir/updated"
}

# deb_version PACKAGE: the version apt would fetch; nothing where apt does not know it.
deb_version() {
	apt-cache "${deb_apt_options[@]}" show --no-all-versions "$1" 2>/dev/null |
		sed -n 's/^Version: //p' | head -n 1
}

# deb_concrete PACKAGE: the package that a meta package such as linux-image-amd64 stands for.
deb_concrete() {
	apt-cache "${deb_apt_options[@]}" depends --important "$1" 2>/dev/null |
		sed -n 's/^ *Depends: //p' | head -n 1
}

# deb_unpack PACKAGE VERSION DIR: DIR appears complete or not at all.
deb_unpack() {
	local pkg=$1 version=$2 dir=$3 tmp
	[ -d "$dir" ] && return 0
	tmp=$dir.tmp.$$
	mkdir -p "$tmp/root"
	if (cd "$tmp" && apt-get -q "${deb_apt_options[@]}" -o APT::Sandbox::User=root \
		download "$pkg=$version" >apt.log 2>&1 && dpkg -x ./*.deb root); then
		rm -f "$tmp"/*.deb "$tmp/apt.log"
		mv -T "$tmp" "$dir" && return 0
	fi
	tail -n 3 "$tmp/apt.log" >&2
	rm -rf "$tmp"
	return 1
}

# deb_fetch CACHE PACKAGE PREFIX: prints the directory with the unpacked package. Offline, or when
# apt knows nothing, the newest cached one serves. PACKAGE "meta:NAME" is resolved first; "NAME=VERSION"
# takes that version and no other.
deb_fetch() {
	local cache=$1 pkg=$2 prefix=$3 name version round dir
	deb_apt_options=()
	for round in system private; do
		[ $round = system ] && [ -n "$deb_arch" ] && continue
		[ $round = private ] && ! deb_use_private_lists "$cache" && break
		name=$pkg
		case $pkg in meta:*) name=$(deb_concrete "${pkg#meta:}") ;; esac
		[ -n "$name" ] || continue
		case $name in
		*=*) version=${name#*=} name=${name%%=*} ;;
		*) version=$(deb_version "$name") ;;
		esac
		[ -n "$version" ] || continue
		dir=$cache/$prefix-${version//[^A-Za-z0-9.+~-]/_}
		if deb_unpack "$name" "$version" "$dir"; then
			echo "$dir"
			return 0
		fi
	done
	dir=$(find "$cache" -maxdepth 1 -type d -name "$prefix-[0-9]*" ! -name '*.tmp.*' 2>/dev/null |
		sort -V | tail -n 1)
	[ -z "$dir" ] || echo "$dir"
}

# deb_use_source_lists CACHE: private lists of Debian's sources. A machine may name them in deb lines only, of
# either form: these are a twin that says deb-src, of the entries that are Debian's own by their suite.
deb_use_source_lists() {
	local dir=$1/apt-src f suite
	suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
	rm -rf "$dir/parts"
	mkdir -p "$dir/lists/partial" "$dir/archives/partial" "$dir/parts"
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -e "$f" ] || continue
		awk -v suite="$suite" 'BEGIN { RS = ""; ORS = "\n\n" }
			("\n" $0 " ") ~ ("\nSuites:([^\n]* )?" suite "[-/ \n]") && !/(^|\n)Enabled: *no/ {
				sub(/(^|\n)Types:[^\n]*/, "\nTypes: deb-src"); print
			}' "$f" >"$dir/parts/$(basename "$f")"
	done
	cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
		awk -v suite="$suite" '$1 == "deb" && ($0 " ") ~ (" " suite "[-/ ]") { $1 = "deb-src"; print }' \
			>"$dir/parts/lines.list"
	deb_apt_options=(-o "Dir::State::Lists=$dir/lists" -o "Dir::Cache=$dir" -o APT::Sandbox::User=root
		-o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$dir/parts")
	[ -z "$(find "$dir/updated" -mmin -1440 2>/dev/null)" ] || return 0
	apt-get -q "${deb_apt_options[@]}" update >"$dir/update.log" 2>&1 && : >"$dir/updated"
}

# deb_source CACHE PACKAGE DIR: unpacks the newest source that can be had into DIR, with Debian's patches,
# and prints its version. A mirror may list a version that it does not serve.
deb_source() {
	local cache=$1 pkg=$2 dir=$3 version tmp=$3.tmp.$$
	deb_use_source_lists "$cache"
	for version in $(apt-cache "${deb_apt_options[@]}" showsrc --only-source "$pkg" 2>/dev/null |
		sed -n 's/^Version: //p' | sort -rVu); do
		rm -rf "$tmp"
		mkdir -p "$tmp"
		if (cd "$tmp" && apt-get -q "${deb_apt_options[@]}" source --download-only "$pkg=$version" &&
			dpkg-source --no-check --no-copy -x ./*.dsc "$dir") >"$tmp.log" 2>&1; then
			rm -rf "$tmp" "$tmp.log"
			echo "$version"
			return 0
		fi
		rm -rf "$dir"
	done
	tail -n 3 "$tmp.log" >&2 2>/dev/null
	rm -rf "$tmp" "$tmp.log"
	return 1
}
