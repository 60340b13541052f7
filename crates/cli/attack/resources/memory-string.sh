# name: memory-string
# area: resources
# about: Doubles a string in bash until memory is gone, at most to 1 GiB.
# expect: limit memory
# limits: memory=128Mi timeout=60s

# A refused allocation ends bash with an error and no verdict, so it is done in a child.
if (
    text=0123456789abcdef
    for _ in {1..26}; do
        text=$text$text
    done
    [ ${#text} -eq $((1 << 30)) ]
) 2>/dev/null; then
    echo "ESCAPED a string of 1 GiB fits"
else
    echo "BLOCKED the child that held the string ended with status $?"
fi
