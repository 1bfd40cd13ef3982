# Completion of xe for fish. What fits is known by xe --complete: commands and parameters from its tables, values from the server.

function __xe_complete
    set -l before (commandline -opc)
    set -l raw (commandline -ct)
    # The word as xe would get it: a quote may still be open.
    set -l typed (string unescape -- $raw; or string unescape -- $raw'"'; or string unescape -- $raw"'"; or echo -- $raw)
    test -n "$typed"; or set typed ''
    for line in (xe --complete $before[2..-1] $typed 2>/dev/null </dev/null)
        if test "$line" = \x01files
            # Of name=path only the path is a file's.
            set -l key (string match -r '^[^=]*=' -- $typed)
            for file in (__fish_complete_path (string replace -r '^[^=]*=' '' -- $typed))
                echo -- "$key$file"
            end
        else
            echo -- $line
        end
    end
end

complete -c xe -f -a '(__xe_complete)'
