//! Executions are strangers to the interpreter and to each other, and it is used only where nothing is lost by it.

use sandkeep_core::duration::Span;
use sandkeep_core::execution::{CodeSource, Exit, Json, Language, Work};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::sandbox::Profile;
use sandkeep_runtime::Driver as _;
use sandkeep_runtime::driver::{Cancel, Mount, Stdin};

use crate::support::{
    all_of, block_on, command, execution_spec, fresh, run, sandbox_spec, shell, to_end, until_output,
    with_timeout,
};
use crate::{IS_WARM, become_warm, is_warm, local, only_where_it_can_be_warm, python, warm, warming};

#[test]
fn nothing_of_one_is_in_the_next() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        let mut first = python(
            "import atexit, builtins, json, os, sys, threading, types\n\
             builtins.print = None; builtins.residue = 1; json.dumps = None; sys.residue = 1\n\
             sys.modules['residue'] = types.ModuleType('residue'); sys.path.append('/residue')\n\
             os.environ['RESIDUE'] = '1'; os.umask(0); os.chdir('/tmp'); sys.setrecursionlimit(50)\n\
             atexit.register(lambda: None); threading.Thread(target=threading.Event().wait, daemon=True).start()\n\
             keep = ['kept-' + os.environ['SECRET']] * 1000\n",
        );
        first.env.insert("SECRET".to_owned(), "seven-lean-cows".to_owned());
        run(sandbox.as_ref(), &first).await.assert_succeeded();
        let second = python(
            "import builtins, json, os, sys, threading\n\
             assert json.dumps([1]) == '[1]'\n\
             assert not hasattr(builtins, 'residue') and not hasattr(sys, 'residue')\n\
             assert 'residue' not in sys.modules and '/residue' not in sys.path\n\
             assert 'RESIDUE' not in os.environ and 'SECRET' not in os.environ\n\
             assert os.umask(0) == 0o22 and os.getcwd() == '/workspace'\n\
             assert threading.active_count() == 1 and sys.getrecursionlimit() == 1000\n\
             wanted = bytes(reversed(b'swoc-nael-neves'))\n\
             where = id(wanted)\n\
             found = []\n\
             memory = open('/proc/self/mem', 'rb', 0)\n\
             for line in open('/proc/self/maps'):\n\
             \x20   start, end = (int(n, 16) for n in line.split()[0].split('-'))\n\
             \x20   if 'r' not in line.split()[1] or '[v' in line: continue\n\
             \x20   memory.seek(start)\n\
             \x20   data = memory.read(end - start)\n\
             \x20   at = data.find(wanted)\n\
             \x20   while at >= 0:\n\
             \x20       if not where <= start + at <= where + 64: found.append(hex(start + at) + line)\n\
             \x20       at = data.find(wanted, at + 1)\n\
             \x20   del data\n\
             print(found)\n",
        );
        assert_eq!(run(sandbox.as_ref(), &second).await.assert_succeeded().out(), "[]\n");
        sandbox.stop().await;
    });
}

#[test]
fn forks_cannot_look_into_each_other() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        let mut spec = python("print('here', flush=True); print(input())");
        spec.stdin = Stdin::Open;
        let mut victim = sandbox.start(&spec).await.unwrap();
        let heard = until_output(victim.as_mut(), "here").await;
        let attack = python(
            "import ctypes, os\n\
             libc, reached = ctypes.CDLL(None), []\n\
             for pid in (int(n) for n in os.listdir('/proc') if n.isdigit()):\n\
             \x20   if pid == os.getpid(): continue\n\
             \x20   for name in ('mem', 'environ', 'maps', 'auxv', 'syscall'):\n\
             \x20       try: reached.append((pid, name, open(f'/proc/{pid}/{name}', 'rb').read(1)))\n\
             \x20       except OSError: pass\n\
             \x20   for name in ('root', 'cwd', 'exe', 'fd/0'):\n\
             \x20       try: reached.append((pid, name, os.readlink(f'/proc/{pid}/{name}')))\n\
             \x20       except OSError: pass\n\
             \x20   if libc.ptrace(16, pid, None, None) == 0: reached.append((pid, 'ptrace'))\n\
             print(reached)\n",
        );
        assert_eq!(run(sandbox.as_ref(), &attack).await.assert_succeeded().out(), "[]\n");
        let control = victim.control();
        control.send_input(b"unharmed\n".to_vec()).await.unwrap();
        let heard = to_end(victim.as_mut(), heard).await;
        assert_eq!(heard.assert_succeeded().out(), "here\nunharmed\n");
        sandbox.stop().await;
    });
}

#[test]
fn where_a_fork_would_not_be_the_same_none_is_made() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        for (name, value) in
            [("PYTHONHASHSEED", "0"), ("PYTHONPATH", "/tmp"), ("LD_LIBRARY_PATH", "/tmp"), ("LC_ALL", "C")]
        {
            let mut spec = python(IS_WARM);
            spec.env.insert(name.to_owned(), value.to_owned());
            assert_eq!(run(sandbox.as_ref(), &spec).await.assert_succeeded().out(), "False\n", "{name}");
        }
        let own = command(&["python3", "-c", IS_WARM]);
        assert_eq!(run(sandbox.as_ref(), &own).await.assert_succeeded().out(), "False\n", "a command");
        run(sandbox.as_ref(), &shell("echo 'x = 1' > /workspace/json.py")).await.assert_succeeded();
        assert!(!is_warm(sandbox.as_ref()).await, "a name that an import would find in the workspace");
        run(sandbox.as_ref(), &shell("rm /workspace/json.py")).await.assert_succeeded();
        assert!(is_warm(sandbox.as_ref()).await);
        sandbox.stop().await;
    });
}

#[test]
fn with_a_mount_there_is_none() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let shown = tempfile::tempdir().unwrap();
        let source = shown.path().to_str().unwrap().to_owned();
        for target in ["/usr/local/share", "/data"] {
            let mut spec = sandbox_spec();
            spec.mounts =
                vec![Mount { source: source.clone(), target: target.parse().unwrap(), writable: false }];
            let sandbox = warming().create(&spec).await.unwrap();
            for _ in 0..5 {
                assert!(!is_warm(sandbox.as_ref()).await, "{target}");
            }
            sandbox.stop().await;
        }
    });
}

#[test]
fn in_profile_dev_there_is_none() {
    block_on(async {
        let mut spec = sandbox_spec();
        spec.profile = Profile::Dev;
        let sandbox = warming().create(&spec).await.unwrap();
        for _ in 0..5 {
            assert!(!is_warm(sandbox.as_ref()).await);
        }
        sandbox.stop().await;
    });
}

#[test]
fn it_has_imported_what_was_asked_for() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let modules = ["colorsys", "no_such_module"].map(str::to_owned).to_vec();
        let sandbox = fresh(&local().warming_python(modules)).await;
        become_warm(sandbox.as_ref()).await;
        let look = python("import sys; print('colorsys' in sys.modules, 'json' in sys.modules)");
        assert_eq!(run(sandbox.as_ref(), &look).await.assert_succeeded().out(), "True False\n");
        sandbox.stop().await;
    });
}

#[test]
fn handlers_are_forks_too() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        for code in [
            "import gc\ndef handler(event, context):\n    return [event, gc.get_freeze_count() > 5000]",
            "import gc\nasync def handler(event, context):\n    return [event, gc.get_freeze_count() > 5000]",
        ] {
            let code = CodeSource::Inline { name: "main.py".to_owned(), code: code.as_bytes().to_vec() };
            let event = Json::from(serde_json::json!({"n": 1}));
            let spec = execution_spec(Work::Handler { language: Language::Python, code, event });
            let heard = run(sandbox.as_ref(), &spec).await;
            let returned = heard.assert_succeeded().ended().returned.clone();
            let expected = serde_json::json!({"value": [{"n": 1}, true]});
            let returned: serde_json::Value = serde_json::from_slice(&returned.unwrap()).unwrap();
            assert_eq!(returned, expected);
        }
        sandbox.stop().await;
    });
}

#[test]
fn limits_and_cancels_hold_for_forks() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        let endless = python("import os\nif os.fork() == 0:\n    os.setsid()\nwhile True: pass");
        let heard = run(sandbox.as_ref(), &with_timeout(endless.clone(), Span::from_millis(300))).await;
        assert_eq!(heard.end().limit, Some(LimitKind::Timeout));
        let hungry = python("hoard = []\nwhile True: hoard.append(bytearray(1 << 20))");
        let heard = run(sandbox.as_ref(), &hungry).await;
        let refused = heard.exit() == Some(Exit::Code(1)) && heard.err().contains("MemoryError");
        assert!(heard.end().limit == Some(LimitKind::Memory) || refused, "{heard:?}");
        let mut running =
            sandbox.start(&python("print('here', flush=True)\nwhile True: pass")).await.unwrap();
        let heard = until_output(running.as_mut(), "here").await;
        running.control().cancel(Cancel::Now).await.unwrap();
        assert!(to_end(running.as_mut(), heard).await.end().exit != Some(Exit::Code(0)));
        assert!(is_warm(sandbox.as_ref()).await, "the interpreter outlived all of it");
        sandbox.stop().await;
    });
}

#[test]
fn a_fork_that_is_held_begins_when_it_is_released() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        let code = "open('/workspace/began', 'a').write('x')\nimport gc; print(gc.get_freeze_count() > 5000)";
        let held = sandbox.prepare(&python(code)).await.unwrap();
        let dropped = sandbox.prepare(&python(code)).await.unwrap();
        drop(dropped);
        run(sandbox.as_ref(), &shell("test ! -e /workspace/began")).await.assert_succeeded();
        let mut running = held.release().await.unwrap();
        assert_eq!(all_of(running.as_mut()).await.assert_succeeded().out(), "True\n");
        assert_eq!(run(sandbox.as_ref(), &shell("cat /workspace/began")).await.out(), "x");
        sandbox.stop().await;
    });
}

#[test]
fn it_stands_outside_of_what_limits_the_code() {
    if !only_where_it_can_be_warm() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        let pid = crate::interpreter(sandbox.as_ref()).expect("it is warm");
        let groups = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let agent = groups(&sandbox.facts().agent_pid.to_string());
        assert_eq!(groups(&pid.to_string()), agent, "it is where the agent is");
        sandbox.stop().await;
    });
}
