# SPDX-FileCopyrightText: 2026 The xsfs authors
# SPDX-License-Identifier: MIT
# fish completion for xsfs(8)

function __xsfs_options
    set -l typed (string split , -- (commandline -ct | string replace -r '^-o' ''))
    set -l before (string join , -- $typed[1..-2])
    test -n "$before"; and set before $before,
    switch $typed[-1]
        case 'cache=*'
            printf "$before%s\n" cache=strict cache=watch cache=off
        case 'events=*'
            printf "$before%s\n" events=full events=modify events=off
        case '*'
            printf "$before%s\n" ro uid= gid= umask= fmask= dmask= quiet root= raw cache= events= \
                timeout= nonempty socket= load= debug allow_other allow_root \
                default_permissions fsname= subtype= max_read=
    end
end

complete -c xsfs -s o -x -a '(__xsfs_options)' -d 'Mount options'
complete -c xsfs -s f -d 'Stay in the foreground'
complete -c xsfs -s d -d 'As -f, and log each request'
complete -c xsfs -s V -l version -d 'Print versions'
complete -c xsfs -s h -l help -d 'Print help'
complete -c xsfs -n __fish_is_first_arg -a 'doctor embedded none'
