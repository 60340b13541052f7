//! Images of a registry by their names: asked for once, and never when that was not to be.

use serde_json::json;

use crate::image::{Image, Tar};
use crate::images::{Here, busybox_layer};
use crate::registry::Server;

#[test]
fn an_image_is_pulled_when_it_is_not_here() {
    let here = Here::new();
    let server = Server::of(&Image::of([busybox_layer()]), |_, _, _| false);
    let name = format!("{}/team/box:1", server.name);
    // Not when it was said not to, and not for what is plainly a file.
    for args in [&["--offline", "--image", &name][..], &["--image", "box.tar"]] {
        let (status, told) = here.run(&[args, &["--", "echo"]].concat()).json();
        assert_eq!((status, &told["error"]["code"]), (125, &"image_unknown".into()), "{told}");
    }
    let (status, _) = here.run(&["--image", &name, "--file", "/nonexistent", "--", "echo"]).json();
    assert_eq!((status, server.asked_for("")), (125, 0), "what can be refused without it is");
    let done = here.run(&["--image", &name, "--", "echo", "pulled"]).done();
    assert_eq!(done.assert_status(0).out(), "pulled\n", "{}", done.err());
    assert!(
        done.err().starts_with(&format!("sandkeep: pulling {name} from {}", server.name)),
        "{}",
        done.err()
    );
    // From then on it is here.
    let asked = server.asked_for("");
    let done = here.run(&["--image", &name, "--", "echo", "again"]).done();
    assert_eq!(
        (done.assert_status(0).out(), done.err(), server.asked_for("")),
        ("again\n".into(), String::new(), asked)
    );
    assert_eq!(here.image(&["list"]).1[0]["names"], json!([name]));
    // What is pulled by its command is asked for anew; only what is not here is fetched.
    let (status, pulled) = here.image(&["pull", &name]);
    assert_eq!((status, &pulled[0]["names"]), (Some(0), &json!([name])), "{pulled}");
    assert_eq!(server.asked_for("/blobs/"), 3, "configuration twice and layer once");
    let (status, told) = here.image(&["pull", &name.replace("box", "other"), "BAD"]);
    assert_eq!((status, &told["error"]["code"]), (Some(125), &"image_unknown".into()), "{told}");
}

#[test]
fn an_image_is_known_by_whatever_means_it() {
    let here = Here::new();
    let image = Image::of([busybox_layer()]);
    let digest = image.manifest(&mut Vec::new())["digest"].as_str().unwrap().to_owned();
    let server = Server::of(&image, |_, _, _| false);
    let pinned = format!("{}/box@{digest}", server.name);
    here.run(&["--image", &pinned, "--", "echo"]).done().assert_status(0);
    let asked = server.asked_for("");
    let tagged = pinned.replace("/box@", "/box:7@");
    for name in [&pinned, &tagged] {
        here.run(&["--image", name, "--", "echo"]).done().assert_status(0);
    }
    assert_eq!((server.asked_for("HEAD"), server.asked_for("")), (0, asked));
    // A name of Docker's, as long as it can be written.
    let saved = here.save(&image.named("box:1"));
    assert_eq!(here.image(&["import", &saved]).0, Some(0));
    for name in ["box:1", "docker.io/library/box:1", "index.docker.io/box:1"] {
        here.run(&["--offline", "--image", name, "--", "echo"]).done().assert_status(0);
    }
}

#[test]
fn nothing_is_written_through_a_file_that_images_share() {
    let here = Here::new();
    let data = Tar::new().dir_as("data", 0o777, 0).file_as("data/all", "1\n", 0o666, 0).end();
    let one = here.save(&Image::of([busybox_layer(), data.clone()]));
    let other = here.save(&Image::of([busybox_layer(), data, Tar::new().file("own", "").end()]));
    let read = |image: &str| here.run(&["--image", image, "--", "cat", "/data/all"]).done().out();
    assert_eq!(read(&other), "1\n");
    let change = "echo 2 > /data/all; chmod 777 /data/all; touch /data/all; rm /bin/echo; exit 0";
    for profile in ["strict", "dev"] {
        for user in ["user", "root"] {
            if (profile, user) == ("strict", "root") {
                continue;
            }
            let args = ["--image", &one, "--profile", profile, "--user", user, "--", "sh", "-c", change];
            here.run(&args).done().assert_status(0);
            assert_eq!((read(&one), read(&other)), ("1\n".into(), "1\n".into()), "{profile} {user}");
            here.run(&["--image", &one, "--", "echo"]).done().assert_status(0);
        }
    }
    let layers = std::fs::read_dir(here.store().join("layers")).unwrap().count();
    assert_eq!(layers, 3, "they share");
}
