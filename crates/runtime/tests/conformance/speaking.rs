//! What goes in and what comes out.

use sandkeep_core::execution::{CodeSource, ExecutionState, Json, Language, Work};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::output::Mask;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::Driver;
use sandkeep_runtime::driver::Stdin;

use crate::support::{all_of, command, execution_spec, fresh, run, shell};

pub async fn streams_are_told_apart(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let heard = run(sandbox.as_ref(), &shell("printf 'o\\0ut'; printf err >&2")).await;
    heard.assert_succeeded();
    assert_eq!((heard.stdout.as_slice(), heard.stderr.as_slice()), (&b"o\0ut"[..], &b"err"[..]));
    assert_eq!((heard.ended().stdout_bytes, heard.ended().stderr_bytes), (4, 3));
}

pub async fn one_pipe_keeps_the_order(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut spec = shell("i=0; while [ $i -lt 500 ]; do echo $i; echo e$i >&2; i=$((i+1)); done");
    spec.merge_stderr = true;
    let heard = run(sandbox.as_ref(), &spec).await;
    let expected: String = (0..500).map(|i| format!("{i}\ne{i}\n")).collect();
    assert_eq!(heard.assert_succeeded().out(), expected);
    assert_eq!(heard.err(), "");
}

pub async fn what_is_masked_is_in_no_output(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    // The pause lets the halves of a secret come in reads of their own.
    let mut spec =
        shell("echo is hunter2; printf hun; printf te >&2; sleep 0.05; printf 'ter2 hunt'; printf r >&2");
    spec.mask = Mask::new([b"hunter2".to_vec(), b"ter".to_vec()]);
    let heard = run(sandbox.as_ref(), &spec).await;
    assert_eq!(heard.assert_succeeded().out(), "is ***\n*** hunt");
    assert_eq!(heard.err(), "***");
    assert_eq!((heard.ended().stdout_bytes, heard.ended().stderr_bytes), (15, 3), "counted as it is told");
}

pub async fn given_bytes_are_standard_input(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let mut spec = command(&["cat"]);
    spec.stdin = Stdin::Bytes(bytes.clone());
    let heard = run(sandbox.as_ref(), &spec).await;
    assert!(heard.assert_succeeded().stdout == bytes, "{} bytes came back", heard.stdout.len());
}

pub async fn fed_bytes_are_standard_input(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut spec = command(&["cat"]);
    spec.stdin = Stdin::Open;
    let mut running = sandbox.start(&spec).await.unwrap();
    let control = running.control();
    for word in ["one ", "two ", "three"] {
        control.send_input(word.as_bytes().to_vec()).await.unwrap();
    }
    control.close_input().await.unwrap();
    let heard = all_of(running.as_mut()).await;
    assert_eq!(heard.assert_succeeded().out(), "one two three");
}

pub async fn without_input_there_is_none(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    assert_eq!(run(sandbox.as_ref(), &shell("cat; echo end")).await.assert_succeeded().out(), "end\n");
}

pub async fn output_over_the_cap_leaves_one_gap(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut spec = shell("head -c 1000000 /dev/zero; printf the-end");
    spec.limits.output = ByteSize::from_bytes(10_000);
    let heard = run(sandbox.as_ref(), &spec).await;
    heard.assert_succeeded();
    assert_eq!(heard.position, 1_000_007);
    assert_eq!(heard.ended().stdout_bytes, 1_000_007, "what is not kept is counted");
    assert!(heard.out().ends_with("the-end"), "the tail is kept");
    assert_eq!(heard.end().limit, None, "a cap is not an end");
}

pub async fn too_much_output_can_end_it(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut spec = command(&["yes"]);
    spec.limits.output_kill = Some(ByteSize::from_bytes(100_000));
    spec.limits.output = ByteSize::from_bytes(10_000);
    let heard = run(sandbox.as_ref(), &spec).await;
    assert_eq!((heard.end().state, heard.end().limit), (ExecutionState::Failed, Some(LimitKind::Output)));
}

pub async fn the_environment_starts_from_zero(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut spec = command(&["env", "-0"]);
    spec.env.insert("GIVEN".to_owned(), "a=b\nc".to_owned());
    let heard = run(sandbox.as_ref(), &spec).await;
    let out = heard.assert_succeeded().out();
    let names: Vec<&str> = out.split_terminator('\0').filter_map(|line| line.split('=').next()).collect();
    let known = [
        "GIVEN",
        "HOME",
        "LANG",
        "LOGNAME",
        "NODE_PATH",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "TMPDIR",
        "USER",
    ];
    assert_eq!(names, known);
    assert!(out.contains("GIVEN=a=b\nc\0"), "{out}");
}

pub async fn the_working_directory_is_as_asked(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut spec = command(&["pwd"]);
    for (asked, expected) in
        [(None, "/workspace\n"), (Some("/tmp"), "/tmp\n"), (Some("/usr/bin"), "/usr/bin\n")]
    {
        spec.id = crate::support::new_execution_id();
        spec.cwd = asked.map(str::to_owned);
        assert_eq!(run(sandbox.as_ref(), &spec).await.assert_succeeded().out(), expected);
    }
}

/// What an earlier execution left behind must not lead the next one through a descriptor of whoever starts it.
pub async fn a_working_directory_never_leads_out(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let links = "for n in $(seq 0 47); do ln -s /proc/self/fd/$n l$n; done; ln -s . here; mkdir gone";
    run(sandbox.as_ref(), &shell(links)).await.assert_succeeded();
    let begin = async |cwd: String| {
        let mut spec = command(&["readlink", "/proc/self/cwd"]);
        spec.cwd = Some(cwd);
        run(sandbox.as_ref(), &spec).await
    };
    for number in 0..48 {
        let heard = begin(format!("/workspace/l{number}")).await;
        let refused = heard.ended().not_runnable.as_ref().is_some_and(|why| why.stage == "cwd");
        assert!(refused && !heard.started, "descriptor {number}: {}", heard.out());
    }
    assert_eq!(begin("/workspace/here".to_owned()).await.assert_succeeded().out(), "/workspace\n");
    for path in ["/nowhere", "/etc/passwd", "/proc/1/root", "/proc/1/cwd"] {
        let heard = begin(path.to_owned()).await;
        assert!(!heard.started && heard.ended().not_runnable.is_some(), "{path}: {}", heard.out());
    }
}

pub async fn a_handler_hands_its_result_back(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let code = b"def handler(event, context):\n    print('said')\n    return {'got': event}\n".to_vec();
    let code = CodeSource::Inline { name: "main.py".to_owned(), code };
    let event = Json::parse(br#"[1, "two"]"#).unwrap();
    let spec = execution_spec(Work::Handler { language: Language::Python, code, event });
    let heard = run(sandbox.as_ref(), &spec).await;
    assert_eq!(heard.assert_succeeded().out(), "said\n", "the result is not output");
    let returned = heard.ended().returned.clone().unwrap();
    let returned: serde_json::Value = serde_json::from_slice(&returned).unwrap();
    assert_eq!(returned, serde_json::json!({"value": {"got": [1, "two"]}}));
}
