# name: exe-shebang
# area: proc
# about: Names the agent's program as the interpreter of its own script, to run it with the code's arguments.
# expect: blocked

# The agent's program, run by the code, would speak its protocol on descriptors that the
# code chose, and show what it holds.
dir=$(mktemp -d) || exit 2
printf '#!/proc/1/exe\n' >"$dir/agent"
chmod 755 "$dir/agent"
tried=0
for face in supervisor agent init --version ""; do
    tried=$((tried + 1))
    text=$(timeout 5 "$dir/agent" $face 2>&1 </dev/null)
    case $text in
    *sandkeep*)
        case $text in
        *denied* | *"bad interpreter"* | *"not permitted"*) ;;
        *)
            echo "ESCAPED the agent's program runs for the code: ${text%%$'\n'*}"
            exit 0
            ;;
        esac
        ;;
    esac
done
if (exec 2>/dev/null; : <"/proc/1/exe"); then
    echo "ESCAPED the agent's program can be read"
    exit 0
fi
echo "BLOCKED $tried ways to start the agent's program"
