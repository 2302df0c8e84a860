#!/bin/sh
# Makes sure that Linux has a Vulkan driver: the GPU's own, or else Mesa's software one (lavapipe).
# Does nothing where one is there, and nothing on macOS (Metal) or Windows (DX12).
set -eu

say() {
    printf 'vulkan.sh: %s\n' "$*" >&2
}

# The loader, libvulkan.so.1.
has_loader() {
    for ldconfig in ldconfig /sbin/ldconfig; do
        if "$ldconfig" -p 2>/dev/null | grep -q 'libvulkan\.so\.1'; then return 0; fi
    done
    for lib in /usr/lib/libvulkan.so.1 /usr/lib64/libvulkan.so.1 /usr/lib/*/libvulkan.so.1 \
        /usr/local/lib/libvulkan.so.1 /lib/libvulkan.so.1; do
        if [ -e "$lib" ]; then return 0; fi
    done
    return 1
}

# Whether the driver of this file can find what it drives. Mesa installs the drivers of all GPUs
# together, so that the file alone says nothing.
is_usable() {
    case "${1##*/}" in
        lvp_icd*.json | vk_swiftshader_icd*.json) return 0 ;;
        nvidia*.json) [ -e /dev/nvidia0 ] || [ -e /dev/nvidiactl ] || [ -e /dev/dxg ] ;;
        dzn_icd*.json) [ -e /dev/dxg ] ;;
        *) has_render_node ;;
    esac
}

# A GPU that this user may open.
has_render_node() {
    for node in /dev/dri/renderD*; do
        if [ -r "$node" ] && [ -w "$node" ]; then return 0; fi
    done
    return 1
}

# Whether one of these driver files, or of the files in these folders, is usable.
any_usable() {
    for place in "$@"; do
        if [ -d "$place" ]; then
            for file in "$place"/*.json; do
                if [ -f "$file" ] && is_usable "$file"; then return 0; fi
            done
        elif [ -f "$place" ] && is_usable "$place"; then
            return 0
        fi
    done
    return 1
}

# The list of driver files that the loader is told to use instead of the system's, if any.
told_drivers() {
    printf '%s' "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}"
}

has_driver() {
    if [ -n "$(told_drivers)" ]; then
        old_ifs=$IFS
        IFS=:
        # shellcheck disable=SC2046 # a list to be split at its colons
        set -- $(told_drivers)
        IFS=$old_ifs
    else
        set -- /usr/share/vulkan/icd.d /etc/vulkan/icd.d /usr/local/share/vulkan/icd.d \
            /usr/local/etc/vulkan/icd.d "${XDG_DATA_HOME:-${HOME:-}/.local/share}/vulkan/icd.d"
    fi
    any_usable "$@"
}

is_ready() {
    has_loader && has_driver
}

# The command that installs a software driver here; empty where it is not known.
install_command() {
    if command -v apt-get >/dev/null 2>&1; then
        # An update may fail in part, for a source that is none of ours; the install decides.
        echo 'apt-get update -q; DEBIAN_FRONTEND=noninteractive apt-get install -q -y mesa-vulkan-drivers libvulkan1'
    elif command -v dnf >/dev/null 2>&1; then
        echo 'dnf install -y mesa-vulkan-drivers vulkan-loader'
    elif command -v pacman >/dev/null 2>&1; then
        echo 'pacman -Sy --noconfirm vulkan-swrast vulkan-icd-loader'
    fi
}

case "$(uname -s)" in
    Darwin) exit 0 ;;                # Metal is there.
    MINGW* | MSYS* | CYGWIN*) exit 0 ;; # DX12 is there.
esac

if is_ready; then exit 0; fi

if [ -n "$(told_drivers)" ] && has_loader; then
    say "VK_DRIVER_FILES or VK_ICD_FILENAMES names no usable driver: $(told_drivers)"
    say "correct it, or unset it to use the system's drivers"
    exit 1
fi

command=$(install_command)
if [ -z "$command" ]; then
    say "there is no Vulkan driver, and this system's packages are not known here"
    say "install the Vulkan loader (libvulkan) and a driver: your GPU's, or Mesa's lavapipe"
    exit 1
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null 2>&1; then
    as_root=sudo
else
    say "there is no Vulkan driver; as root, run: $command"
    exit 1
fi

say "there is no Vulkan driver; installing Mesa's: $command"
$as_root sh -c "$command" >&2 </dev/null || {
    say "that failed; as root, run: $command"
    exit 1
}

if ! is_ready; then
    say "the packages are installed, but there is still no usable Vulkan driver"
    say "look at /usr/share/vulkan/icd.d, and at what vulkaninfo says"
    exit 1
fi
say "done"
