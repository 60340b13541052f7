//! What every driver must do, as cases over `&dyn Driver`. A driver is added by one line at the end of this file.
//!
//! These are the promises of the seam (`driver.rs`), each shown once and quickly. How large, how many and how often is
//! the suite `correctness` of the command.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]
#![allow(unreachable_pub, dead_code, reason = "the support is shared with other suites")]

mod ending;
mod files;
mod held;
mod identity;
mod layers;
mod outlives;
mod shortage;
mod speaking;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use sandkeep_core::size::ByteSize;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};

/// The driver `local`, with its state where it always is: slots are of the host, not of a test.
fn local() -> Local {
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(8) })
}

/// The same, with sandboxes that go on when their handles are dropped. Each test has its own, and lists those alone.
fn outliving(orphan_after: Duration) -> Local {
    local().outliving(&owner(), orphan_after).unwrap()
}

/// So long that no busy machine needs it, so short that a failed test leaves nothing for long.
const ORPHAN_AFTER: Duration = Duration::from_secs(30);

const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// Names the owner for a process that a test starts.
const OWNER: &str = "SANDKEEP_TEST_OWNER";

/// One per test, which is one per thread.
fn owner() -> String {
    let thread = format!("{:?}", std::thread::current().id());
    let number: String = thread.chars().filter(char::is_ascii_digit).collect();
    std::env::var(OWNER).unwrap_or_else(|_| format!("tests-{}-{number}", std::process::id()))
}

/// Takes the directory of this test's owner away, where it had one.
fn tidy() {
    let _none = std::fs::remove_dir(StateDirectory::default_path().join("supervisors").join(owner()));
}

/// One test per case, in a module named after the driver.
macro_rules! conforms {
    ($name:ident, $driver:expr, $($part:ident :: $case:ident),+ $(,)?) => {
        mod $name {
            $(#[test]
            fn $case() {
                let driver = $driver;
                crate::support::block_on(async {
                    crate::$part::$case(&driver).await;
                    crate::outlives::end_all(&driver).await;
                });
                crate::tidy();
            })+
        }
    };
}

/// Every case, for one driver.
macro_rules! every_case {
    ($name:ident, $driver:expr) => {
        conforms!(
            $name,
            $driver,
            ending::an_exit_code_arrives,
            ending::a_signal_arrives,
            ending::a_missing_program_is_not_found,
            ending::a_file_that_is_no_program_is_not_runnable,
            ending::a_timeout_ends_the_whole_tree,
            ending::a_polite_cancel_lets_the_code_finish,
            ending::a_cancel_now_does_not_ask,
            ending::a_cancel_after_the_end_is_refused,
            ending::what_detached_dies_with_its_execution,
            ending::stopping_ends_what_runs,
            ending::a_create_that_is_given_up_leaves_nothing,
            speaking::streams_are_told_apart,
            speaking::one_pipe_keeps_the_order,
            speaking::what_is_masked_is_in_no_output,
            speaking::given_bytes_are_standard_input,
            speaking::fed_bytes_are_standard_input,
            speaking::without_input_there_is_none,
            speaking::output_over_the_cap_leaves_one_gap,
            speaking::too_much_output_can_end_it,
            speaking::the_environment_starts_from_zero,
            speaking::the_working_directory_is_as_asked,
            speaking::a_working_directory_never_leads_out,
            speaking::a_handler_hands_its_result_back,
            identity::the_same_id_runs_once,
            identity::two_listeners_hear_the_same,
            identity::a_lower_token_is_refused,
            identity::a_new_token_fences_the_old_one_off,
            identity::a_sandbox_says_who_it_is,
            identity::sandboxes_do_not_share_files,
            held::what_is_prepared_waits_for_its_release,
            held::what_is_not_released_never_runs,
            held::what_was_not_released_can_be_started,
            held::starting_it_by_its_id_releases_it,
            held::its_time_begins_with_its_release,
            held::what_has_failed_has_no_time,
            held::what_keeps_it_from_running_is_told,
            held::a_large_request_is_prepared_too,
            held::files_are_not_there_before_the_release,
            held::a_known_id_is_not_prepared,
            held::a_stale_token_prepares_nothing,
            held::a_stop_ends_what_waits,
            files::given_files_are_there,
            files::a_file_can_be_read_back,
            files::what_is_no_plain_file_is_not_read,
            files::new_and_changed_files_are_listed,
            files::nothing_is_listed_unless_asked,
            layers::what_is_kept_is_there_again,
            layers::dev_keeps_what_its_root_changed,
            layers::a_layer_is_one_sandboxs,
            layers::its_disk_is_bounded,
            layers::its_files_are_bounded,
            layers::killed_with_all_its_processes_it_starts_again,
            layers::it_is_removed_whole,
            layers::what_is_no_layer_is_refused_and_left_alone,
            layers::nobody_else_can_enter_it,
            layers::a_link_in_a_kept_layer_leads_nowhere,
            layers::a_layer_goes_with_as_many_mounts_as_may_be,
            shortage::without_descriptors_a_start_is_refused,
            shortage::at_the_limit_of_processes_a_start_is_refused_or_runs,
            shortage::nothing_stays_of_many_executions,
        );
    };
}

/// Cases of drivers whose sandboxes outlive their handles, beside all others.
macro_rules! outliving_cases {
    ($name:ident, $driver:expr) => {
        conforms!(
            $name,
            $driver,
            held::who_was_fenced_off_releases_nothing,
            outlives::dropping_the_handle_leaves_what_runs,
            outlives::killing_the_holder_leaves_what_runs,
            outlives::the_end_of_a_sandbox_is_heard,
            outlives::only_a_higher_token_takes_it_from_its_holder,
            outlives::of_two_who_attach_at_once_one_wins,
            outlives::the_list_names_exactly_the_living,
            outlives::who_is_gone_is_said_to_be_gone,
            outlives::output_goes_on_where_it_was_left,
            outlives::an_end_in_the_meantime_is_told,
            outlives::limits_hold_while_nobody_is_there,
            outlives::what_is_stored_is_forgotten_and_not_run_again,
        );
    };
}

every_case!(local, crate::local());
conforms!(local_ends, crate::local(), ending::dropping_the_handle_ends_the_sandbox);
every_case!(outliving, crate::outliving(crate::ORPHAN_AFTER));
outliving_cases!(outliving_found, crate::outliving(crate::ORPHAN_AFTER));
conforms!(orphaned, crate::outliving(crate::HALF_A_SECOND), outlives::an_orphan_ends_itself);

#[test]
fn a_supervisor_is_its_own() {
    let driver = outliving(ORPHAN_AFTER);
    let doors = StateDirectory::default_path().join("supervisors").join(owner());
    support::block_on(outlives::it_is_its_own(&driver, &doors));
    tidy();
}
