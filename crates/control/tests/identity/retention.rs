//! What is old goes, with all that belongs to it; what is not stays.

use std::time::Duration;

use sandkeep_blob::Blobs;
use sandkeep_control::events::{Events, Filter};
use sandkeep_control::ids::fresh;
use sandkeep_control::output::{Outputs, Part, Segment};
use sandkeep_control::retention::{Keep, Retention};
use sandkeep_core::code::ErrorCode;
use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId, ServerId};
use sandkeep_core::identity::Asked;
use sandkeep_core::output::Stream;
use sandkeep_store::events::News;
use sandkeep_store::executions::{self, Accepted, Claim, Ending};
use sandkeep_store::{Durability, events, servers};

use crate::{Bed, both, code, text_of};

both! { an_execution_goes_with_its_output what_is_said_of_the_past_goes_in_its_time a_reader_of_events_is_told_what_it_missed }

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_US: i64 = 3_600_000_000;
const KEEP: Keep = Keep {
    executions: HOUR,
    sandboxes: HOUR.saturating_mul(2),
    events: HOUR.saturating_mul(3),
    audit: HOUR.saturating_mul(400),
};

fn outputs(bed: &Bed) -> Outputs {
    Outputs::new(bed.store.clone(), Blobs::local(&bed.path().join("blobs")).unwrap())
}

fn retention(bed: &Bed) -> Retention {
    Retention::new(bed.store.clone(), outputs(bed), bed.clock.clone(), KEEP, fresh(&bed.clock))
}

/// One that has ended now, and said so many bytes.
async fn ended(bed: &Bed, project_id: ProjectId, bytes: usize) -> ExecutionId {
    let (id, sandbox_id, server_id): (ExecutionId, SandboxId, ServerId) =
        (fresh(&bed.clock), fresh(&bed.clock), fresh(&bed.clock));
    let segments = vec![Segment { stream: Stream::Stdout, bytes: vec![b'x'; bytes] }];
    outputs(bed).append(id, Part::Segments { from: 0, segments }).await.unwrap();
    let now_us = bed.clock.now_us();
    let accepted = Accepted { id, project_id, sandbox_id, kind: "command", language: None, request: vec![1] };
    let ending = Ending { state: "succeeded", result: "{}".to_owned(), finished_us: now_us };
    let write = bed.store.write(Durability::Durable, (accepted, ending, server_id, now_us), |tx, of| {
        Box::pin(async move {
            executions::accept(tx, &of.0, of.3).await?;
            executions::take_queued(tx, of.0.id, of.2, 0).await?;
            executions::finish(tx, of.0.id, Claim { server_id: of.2, token: 1 }, &of.1).await
        })
    });
    assert!(write.await.unwrap().is_updated());
    id
}

async fn is_there(bed: &Bed, id: ExecutionId) -> bool {
    executions::finished(&mut bed.store.reader().await.unwrap(), id).await.unwrap().is_some()
}

fn blobs(bed: &Bed) -> usize {
    let all = std::fs::read_dir(bed.path().join("blobs/executions"));
    all.map_or(0, Iterator::count)
}

async fn tell(bed: &Bed, project_id: ProjectId) {
    let input = (project_id, bed.clock.now_us());
    let write = bed.store.write(Durability::Durable, input, |tx, of| {
        Box::pin(async move {
            let news = News { project_id: of.0, kind: "test.told", subject: "x", data: "{}" };
            events::add(tx, &news, of.1).await
        })
    });
    write.await.unwrap();
}

mod cases {
    use super::*;

    pub(super) async fn an_execution_goes_with_its_output(bed: &Bed) {
        let (_, project) = bed.admin().await;
        let (small, large) = (ended(bed, project, 10).await, ended(bed, project, 100_000).await);
        let retention = retention(bed);
        bed.clock.shift(HOUR_US / 2);
        let young = ended(bed, project, 100_000).await;
        assert_eq!(retention.forget_old().await.unwrap(), 0);
        assert_eq!(blobs(bed), 2);
        bed.clock.shift(HOUR_US / 2 + 1);
        assert_eq!([retention.forget_old().await.unwrap(), retention.forget_old().await.unwrap()], [2, 0]);
        for id in [small, large] {
            assert!(!is_there(bed, id).await);
            assert_eq!(outputs(bed).reach(id).await.unwrap(), 0);
        }
        assert!(is_there(bed, young).await);
        assert_eq!(outputs(bed).reach(young).await.unwrap(), 100_000);
        assert!(outputs(bed).stored_tail(young, 0).next().await.unwrap().is_some());
        assert_eq!(blobs(bed), 1, "only that of the young one is left");
    }

    pub(super) async fn what_is_said_of_the_past_goes_in_its_time(bed: &Bed) {
        let (admin, _) = bed.admin().await;
        let made = bed.token(&admin, Asked::default()).await.unwrap();
        bed.tokens.revoke(&admin, made.token.id, "r1").await.unwrap();
        let dead = servers::Server {
            id: fresh(&bed.clock),
            version: "0.1.0".to_owned(),
            host: "here".to_owned(),
            boot_id: "a-boot".to_owned(),
            started_us: bed.clock.now_us(),
            seen_us: bed.clock.now_us(),
        };
        let entered =
            bed.store.write(Durability::Durable, dead.clone(), |tx, dead| Box::pin(servers::enter(tx, dead)));
        entered.await.unwrap();
        let own = servers::Server { id: fresh(&bed.clock), ..dead };
        let own_id = own.id;
        let entered = bed.store.write(Durability::Durable, own, |tx, own| Box::pin(servers::enter(tx, own)));
        entered.await.unwrap();
        let retention = Retention::new(bed.store.clone(), outputs(bed), bed.clock.clone(), KEEP, own_id);
        let forget = async || retention.forget_old().await.unwrap();
        assert_eq!(forget().await, 0);
        bed.clock.shift(25 * HOUR_US);
        assert_eq!(
            [forget().await, forget().await],
            [1, 0],
            "another server that was not heard of for a day"
        );
        bed.clock.shift(400 * HOUR_US);
        assert_eq!([forget().await, forget().await], [3, 0], "entries of the audit log");
        bed.clock.shift(720 * HOUR_US);
        assert_eq!([forget().await, forget().await], [1, 0], "a revoked token");
        bed.who(&text_of(&bed.admin_file())).await.unwrap();
    }

    pub(super) async fn a_reader_of_events_is_told_what_it_missed(bed: &Bed) {
        let (admin, project) = bed.admin().await;
        let web = bed.projects.create(&admin, &"web".parse().unwrap(), None, "r1").await.unwrap().id;
        let events = Events::new(bed.store.clone());
        let read = async |project, after| {
            let part = events.after(&admin, project, &Filter::default(), after, 10).await?;
            let positions: Vec<i64> = part.events.iter().map(|event| event.position).collect();
            Ok::<_, sandkeep_core::code::Problem>((positions, part.after))
        };
        for project_id in [project, project, web, web] {
            tell(bed, project_id).await;
        }
        assert_eq!(read(project, 1).await.unwrap(), (vec![2], 4), "others' events are passed by");
        bed.clock.shift(4 * HOUR_US);
        tell(bed, web).await;
        assert_eq!(retention(bed).forget_old().await.unwrap(), 4);
        assert_eq!(code(read(web, 3).await), Some(ErrorCode::EventsForgotten));
        assert_eq!(code(read(project, 1).await), Some(ErrorCode::EventsForgotten));
        assert_eq!(read(web, 0).await.unwrap(), (vec![5], 5), "from the first that is kept");
        assert_eq!(read(web, 4).await.unwrap(), (vec![5], 5));
        assert_eq!(
            read(project, 4).await.unwrap(),
            (vec![], 5),
            "who went on with the answer missed nothing"
        );
    }
}
