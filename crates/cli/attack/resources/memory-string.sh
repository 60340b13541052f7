# name: memory-string
# area: resources
# about: Doubles a string in bash until memory is gone.
# expect: limit memory
# limits: memory=128Mi timeout=60s

text=0123456789abcdef
for doubling in {1..28}; do
    # A refused allocation ends bash here with an error and no verdict of its own, so the
    # doubling is done in a child whose end can be told.
    if ! (text=$text$text) 2>/dev/null; then
        echo "BLOCKED refused at doubling $doubling"
        exit 0
    fi
    text=$text$text
    if [ "$doubling" -eq 27 ]; then
        echo "ESCAPED a string of 2 GiB fits"
        exit 0
    fi
done
