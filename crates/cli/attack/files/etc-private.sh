# name: etc-private
# area: files
# about: Opens the files of /etc that hold passwords, keys and rules of the host.
# expect: blocked

# The generated /etc may have a shadow file of its own, with locked entries only; a
# password hash, which begins with a dollar sign, can only be the host's.
tried=0
for file in /etc/shadow /etc/gshadow /etc/shadow- /etc/security/opasswd; do
    tried=$((tried + 1))
    if grep -qs ':\$' "$file"; then
        echo "ESCAPED $file holds a password hash"
        exit 0
    fi
done
for file in /etc/sudoers /etc/ssh/ssh_host_*_key /etc/ssl/private/* /etc/krb5.keytab \
    /etc/kubernetes/admin.conf /etc/machine-id /etc/crontab /etc/docker/key.json; do
    [ -e "$file" ] || continue
    tried=$((tried + 1))
    if [ ! -O "$file" ] && head -c 1 "$file" >/dev/null 2>&1 && [ "$(stat -c %a "$file")" != 644 ]; then
        echo "ESCAPED $file of the host can be read"
        exit 0
    fi
done
echo "BLOCKED $tried private files of /etc are not the host's"
