# name: daemon-after-exit
# area: endurance
# about: Leaves background jobs behind and ends at once: nohup, setsid, disown and a subshell.
# expect: contained
# limits: timeout=20s

# Whoever waits for the end of these would wait two minutes; whoever forgets them leaks.
nohup sleep 120 >/dev/null 2>&1 &
setsid sleep 121 </dev/null >/dev/null 2>&1 &
(setsid bash -c 'exec -a atk-daemon sleep 122' </dev/null >/dev/null 2>&1 &)
sleep 123 </dev/null >/dev/null 2>&1 &
disown -a
echo "BLOCKED left four processes behind"
