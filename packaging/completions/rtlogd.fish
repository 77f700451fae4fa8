# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rtlogd_global_optspecs
    string join \n h/help V/version
end

function __fish_rtlogd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rtlogd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rtlogd_using_subcommand
    set -l cmd (__fish_rtlogd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rtlogd -n "__fish_rtlogd_needs_command" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -s V -l version -d 'Print version'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "serve" -d 'Serve the streams of a configuration, or some files without one'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "run" -d 'Run one command, stream its output, and exit with its status'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "check" -d 'Look for mistakes in a configuration'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "reload" -d 'Apply a changed configuration to the daemon that serves it, and tell how that went'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "doctor" -d 'Look for what stands in the way of a configuration, and name what mends it'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "schema" -d 'Print the JSON Schema of the configuration, or of the control channel\'s messages'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "history" -d 'Tell what a state directory holds, or print the events of one stream in it'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "token" -d 'Make a token that lets its holder in, or look after the keys that sign them'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "ls" -d 'List the streams of a running rtlogd'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "follow" -d 'Print streams as they grow; exits with the process\'s status when it ends, with 75 when rtlogd was stopped'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "send" -d 'Type a line into a process'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "start" -d 'Start a process that does not run'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "stop" -d 'End a process; it stays so until it is started again'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "restart" -d 'End a process, and start it again'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "signal" -d 'Send a signal to a process and all of its group'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l config -d 'The configuration [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l listen -d 'Listen here instead: 127.0.0.1:7070 or `unix:/path`; may be given again' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l log-level -d 'Log from this level on; `RTLOGD_LOG` says it for parts' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l pid-file -d 'Write the daemon\'s process id here; the file is locked as long as the daemon runs, and removed when it ends' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l log-file -d 'Append the log to this file, which must not be a link; without it the log is lost' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l user -d 'Give up being root: run as this user, and in no group but --group' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l group -d 'See --user' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l daemon -d 'Go on as a daemon, and exit with 0 once it serves; under systemd leave this away'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l name -d 'The stream\'s name [default: that of the program]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l listen -d 'Listen here: 127.0.0.1:7070 or `unix:/path` [default: 127.0.0.1:7070, or any free port if it is taken]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l memory -d 'Keep this much of the output in memory' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l linger -d 'Serve readers this long after the command\'s end' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l log-level -d 'Log from this level on; `RTLOGD_LOG` says it for parts' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand check" -l config -d 'The configuration [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand check" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand reload" -l config -d 'The configuration [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand reload" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand doctor" -l config -d 'The configuration [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand history" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l config -d 'The configuration that names the keys [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l keys -d 'The directory of the keys, instead of the one that the configuration names' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l stream -d 'Streams that it is for; `*` stands for any letters, `?` for one; may be given again' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l allow -d 'What it allows: `read`, `input` (to type), `admin` (to start, stop and signal); may be given again' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l expires -d 'How long it counts; one for URLs at most 12h' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l name -d 'Who it is for: shown in logs' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l revoke -d 'Revoke a token, given by itself or by its id, and say what that ends' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l algorithm -d 'The kind of key to make [default: ed25519, or that of the key before]' -r -f -a "ed25519\t'A key pair'
hs256\t'A secret'"
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l init -d 'Make the first key'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l rotate -d 'Make a new key; tokens signed by the key before it stay valid, older ones do not'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -l url -d 'Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -l token-file -d 'Show the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -l token -d 'Show this token; others on this machine see it here, so better set the variable, or use --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l url -d 'Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l token-file -d 'Show the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l token -d 'Show this token; others on this machine see it here, so better set the variable, or use --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l tail -d 'Begin with the last so many lines, or `all` [default: 100]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l since -d 'Begin at a time (2026-11-23T05:00:00Z), or so long ago (5m)' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l grep -d 'Only lines that match; may be given again' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l exclude -d 'Without lines that match; may be given again' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l run -d '`current`: the run that runs now, from its start' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l json -d 'Print each event as a line of JSON'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l url -d 'Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l token-file -d 'Show the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l token -d 'Show this token; others on this machine see it here, so better set the variable, or use --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l eof -d 'End its input, behind the text if there is one'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l raw -d 'Send the text as it is, without a newline behind it'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -l url -d 'Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -l token-file -d 'Show the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -l token -d 'Show this token; others on this machine see it here, so better set the variable, or use --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -l url -d 'Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -l token-file -d 'Show the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -l token -d 'Show this token; others on this machine see it here, so better set the variable, or use --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -l url -d 'Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -l token-file -d 'Show the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -l token -d 'Show this token; others on this machine see it here, so better set the variable, or use --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -l url -d 'Where rtlogd is: `http://HOST:PORT` or `unix:/path` [default: its usual socket, else port 7070 of this machine]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -l token-file -d 'Show the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -l token -d 'Show this token; others on this machine see it here, so better set the variable, or use --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "serve" -d 'Serve the streams of a configuration, or some files without one'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "run" -d 'Run one command, stream its output, and exit with its status'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "check" -d 'Look for mistakes in a configuration'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "reload" -d 'Apply a changed configuration to the daemon that serves it, and tell how that went'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "doctor" -d 'Look for what stands in the way of a configuration, and name what mends it'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "schema" -d 'Print the JSON Schema of the configuration, or of the control channel\'s messages'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "history" -d 'Tell what a state directory holds, or print the events of one stream in it'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "token" -d 'Make a token that lets its holder in, or look after the keys that sign them'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "ls" -d 'List the streams of a running rtlogd'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "follow" -d 'Print streams as they grow; exits with the process\'s status when it ends, with 75 when rtlogd was stopped'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "send" -d 'Type a line into a process'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "start" -d 'Start a process that does not run'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "stop" -d 'End a process; it stays so until it is started again'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "restart" -d 'End a process, and start it again'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "signal" -d 'Send a signal to a process and all of its group'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload doctor schema history token ls follow send start stop restart signal help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
