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
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "serve" -d 'Serve the streams of a configuration, or the given files'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "run" -d 'Run one command, serve its output, and exit with its status'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "check" -d 'Find mistakes in a configuration'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "reload" -d 'Make the daemon apply its changed configuration, and print the result'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "shutdown" -d 'End the daemon, with or without its commands'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "upgrade" -d 'Replace the running daemon with the installed program; for daemons that systemd does not run'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "doctor" -d 'Find out why a configuration, or a proxy in front of rtlogd, does not work, and how to fix it'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "schema" -d 'Print the JSON Schema of the configuration, or of the control channel\'s messages'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "history" -d 'Show the contents of a state directory, or print the events of one of its streams'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "token" -d 'Make a token, or manage the keys that sign tokens'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "ls" -d 'List the streams of a running rtlogd'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "runs" -d 'List the runs of a process, newest first'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "follow" -d 'Print streams as they grow, and exit with the status of the process when it ends'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "push" -d 'Append lines to a push stream: those of a file, or those of standard input as they arrive'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "send" -d 'Type a line into a process, or append one to a push stream'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "start" -d 'Start a process'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "stop" -d 'Stop a process until it is started again'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "restart" -d 'Stop a process and start it again'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "signal" -d 'Send a signal to a process and its group'
complete -c rtlogd -n "__fish_rtlogd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l config -d 'The configuration file [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l listen -d 'Listen on this address instead of those in the configuration, such as 127.0.0.1:7070 or `unix:/path`; may be repeated' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l log-level -d 'Log messages of this level and more serious ones; `RTLOGD_LOG` can set a level for each module' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l pid-file -d 'With --daemon: write the daemon\'s process id to this file, which is locked while the daemon runs and removed when it ends' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l log-file -d 'With --daemon: append the log to this file, which must not be a symbolic link; without this option, the log of the daemon is lost' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l user -d 'With --daemon: run as this user instead of root, with --group as the only group' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l group -d 'The group to run as; see --user' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -l daemon -d 'Detach from the terminal, and exit with 0 once the daemon serves; not for use under systemd'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand serve" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l name -d 'The name of the stream [default: the name of the program]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l listen -d 'Listen on this address, such as 127.0.0.1:7070 or `unix:/path` [default: 127.0.0.1:7070, or any free port if that one is taken]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l memory -d 'Keep this much of the output in memory' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l linger -d 'Keep serving readers for this long after the command has ended; by default until connected readers have received the rest, at most 5s' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l log-level -d 'Log messages of this level and more serious ones; `RTLOGD_LOG` can set a level for each module' -r -f -a "error\t''
warn\t''
info\t''
debug\t''
trace\t''"
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l pty -d 'Give the command a terminal for its output; the default if standard output is a terminal'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -l no-pty -d 'Give the command pipes for its output, which keep standard error apart'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand run" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand check" -l config -d 'The configuration file [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand check" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand reload" -l config -d 'The configuration file [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand reload" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand shutdown" -l config -d 'The configuration file [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand shutdown" -l keep-processes -d 'Leave the commands running for their `orphan_timeout`; the next rtlogd takes them over'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand shutdown" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand upgrade" -l config -d 'The configuration file [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand doctor" -l config -d 'The configuration file [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand doctor" -l url -d 'Check the path to a running daemon instead, for example through a proxy: `https://HOST/PATH`' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand doctor" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand doctor" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand doctor" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand schema" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand history" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l config -d 'The configuration that names the keys [default: /etc/rtlogd/rtlogd.yaml]' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l keys -d 'The directory of the keys, instead of the one that the configuration names' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l stream -d 'The streams that the token gives access to (required to make a token); `*` stands for any characters, `?` for one; may be repeated' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l allow -d 'What the token permits: `read`, `input` (type and push), `admin` (start, stop and signal); may be repeated' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l expires -d 'How long the token is valid; at most 12h for a token in a URL' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l name -d 'Who the token is for; shown in logs' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l revoke -d 'Revoke a token; give the token itself or its id' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l algorithm -d 'The kind of key to make [default: ed25519, or that of the previous key]' -r -f -a "ed25519\t'A key pair'
hs256\t'A secret'"
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l init -d 'Make the first key'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -l rotate -d 'Make a new key; tokens signed with the previous key stay valid, those signed with earlier keys do not'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand token" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand ls" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand runs" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand runs" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand runs" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand runs" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand runs" -l limit -d 'List at most this many runs, 1 to 1000' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand runs" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l tail -d 'Begin with this many of the last lines that pass the filter, or with `all` [default: 100; with --run, the whole run]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l since -d 'Begin at this time, such as 2026-11-23T05:00:00Z, or this long ago, such as 5m' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l grep -d 'Print only lines that match; may be repeated, and then all must match' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l exclude -d 'Leave out lines that match; may be repeated' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l where -d 'Print only lines whose fields meet this condition, such as `status>=500`; the stream needs `format: json`, `logfmt` or `syslog`; may be repeated, and then all must be met' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l level -d 'Print only lines of this level or a more serious one, such as `error` or `warning`' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l origin -d 'Print only lines of this origin, such as `stderr` or a file; may be repeated, and then any of them will do' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l run -d 'Print only one run of the process: the one with this number, `current` (the last one if none is in progress), `last` (the last one that has ended) or `passed` (the last one that exited with 0)' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l color -d 'Print the colours and links of lines; `auto` does so on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`' -r -f -a "auto\t'Colours on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`'
always\t'Colours, also into a pipe'
never\t'No colours'"
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -l json -d 'Print each event as a line of JSON'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand follow" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand push" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand push" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand push" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand push" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand push" -l origin -d 'The sender of the lines, which readers see as their origin' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand push" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l eof -d 'End the input of the process, after the text if there is one'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -l raw -d 'Send the text without a newline after it'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand send" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand start" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand stop" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand restart" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -l url -d 'The address of the daemon: `http://HOST:PORT`, `https://HOST:PORT` or `unix:/path` [default: `unix:/run/rtlogd/rtlogd.sock` if you may open that socket, otherwise `http://127.0.0.1:7070`]' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -l token-file -d 'Send the token in this file' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -l token -d 'Send this token; on the command line, others on this machine can see it, so prefer the variable or --token-file' -r
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -l ca -d 'Trust the certificates in this file (PEM), and those that they signed, in addition to those of the system' -r -F
complete -c rtlogd -n "__fish_rtlogd_using_subcommand signal" -s h -l help -d 'Print help'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "serve" -d 'Serve the streams of a configuration, or the given files'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "run" -d 'Run one command, serve its output, and exit with its status'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "check" -d 'Find mistakes in a configuration'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "reload" -d 'Make the daemon apply its changed configuration, and print the result'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "shutdown" -d 'End the daemon, with or without its commands'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "upgrade" -d 'Replace the running daemon with the installed program; for daemons that systemd does not run'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "doctor" -d 'Find out why a configuration, or a proxy in front of rtlogd, does not work, and how to fix it'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "schema" -d 'Print the JSON Schema of the configuration, or of the control channel\'s messages'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "history" -d 'Show the contents of a state directory, or print the events of one of its streams'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "token" -d 'Make a token, or manage the keys that sign tokens'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "ls" -d 'List the streams of a running rtlogd'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "runs" -d 'List the runs of a process, newest first'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "follow" -d 'Print streams as they grow, and exit with the status of the process when it ends'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "push" -d 'Append lines to a push stream: those of a file, or those of standard input as they arrive'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "send" -d 'Type a line into a process, or append one to a push stream'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "start" -d 'Start a process'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "stop" -d 'Stop a process until it is started again'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "restart" -d 'Stop a process and start it again'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "signal" -d 'Send a signal to a process and its group'
complete -c rtlogd -n "__fish_rtlogd_using_subcommand help; and not __fish_seen_subcommand_from serve run check reload shutdown upgrade doctor schema history token ls runs follow push send start stop restart signal help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
