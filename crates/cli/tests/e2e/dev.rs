//! `tidegate dev`: one owner, its local API and who may use it, its end.

use crate::harness::{Place, brief_workflow, examples, terminate};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A request over the loopback port; gives the status and the body.
fn get(address: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer}"));
    (status, answer)
}

#[test]
fn a22_dev_answers_its_owner_alone_and_ends_with_its_processes() {
    let place = Place::new();
    let library = examples().join("library");
    let mut dev = place.start(&["dev", "--json", "--port", "0", "--library", library.to_str().unwrap()]);
    let ready = dev.line();
    assert_eq!(ready["type"], "dev.ready");
    let url = ready["device_url"].as_str().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{url}");
    assert!(ready["hub_url"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{ready}");
    assert_eq!(ready["data"], place.data().to_str().unwrap());
    let token_file = ready["token_file"].as_str().unwrap();
    let token = std::fs::read_to_string(token_file).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(token_file).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "the token is the owner's alone");

    let bearer = format!("Bearer {}", token.trim());
    let allowed = ("Authorization", bearer.as_str());
    let host = ("Host", address);
    for path in ["/v1/runs", "/v1/status", "/v1/audit", "/openapi.json", "/nothing/here"] {
        assert_eq!(get(address, path, &[host]).0, 401, "{path} without a token");
        assert_eq!(get(address, path, &[host, ("Authorization", "Bearer 0123")]).0, 401, "{path}, wrong token");
        assert_eq!(get(address, path, &[("Host", "evil.example"), allowed]).0, 403, "{path}, rebound name");
        assert_eq!(get(address, path, &[("Host", "127.0.0.1:1"), allowed]).0, 403, "{path}, other port");
        for origin in ["https://evil.example", "null", "http://evil.example", "http://127.0.0.1"] {
            assert_eq!(get(address, path, &[host, ("Origin", origin), allowed]).0, 403, "{path} from {origin}");
        }
    }
    for path in ["/v1/runs", "/v1/status", "/openapi.json"] {
        let (status, answer) = get(address, path, &[host, allowed]);
        assert_eq!(status, 200, "{answer}");
    }
    assert!(!get(address, "/v1/runs", &[host]).1.contains(token.trim()), "the token is not told");

    // A second command on the folder talks to this dev and starts nothing.
    let (hubs, nodes) = (place.parts("__hub"), place.parts("__node"));
    assert_eq!((hubs.len(), nodes.len()), (1, 1));
    let run = place.run(&brief_workflow(), &[]).expect_code(0).last()["run"].as_str().unwrap().to_owned();
    assert_eq!((place.parts("__hub"), place.parts("__node")), (hubs, nodes), "the same processes as before");
    assert!(dev.lives());
    let (status, answer) = get(address, &format!("/v1/runs/{run}"), &[host, allowed]);
    assert_eq!(status, 200);
    assert!(answer.contains("run.finished") && answer.contains(&run), "{answer}");
    let second = place.tidegate(&["dev", "--json"]);
    assert_eq!(second.last()["code"], "folder-in-use", "{}", second.all());
    assert_eq!(second.code, Some(1));

    terminate(dev.pid());
    assert_eq!(dev.end().0, Some(0));
    place.wait_until_nobody_lives();
    assert!(TcpStream::connect(address).is_err(), "the port is closed");
    let listed = place.tidegate(&["runs", "--json"]).expect_code(0).last();
    assert_eq!(listed["run"], run.as_str(), "and the run is kept");
}

#[test]
fn dev_that_is_killed_leaves_nobody_behind_and_the_folder_can_be_used_again() {
    let place = Place::new();
    let dev = place.start(&["dev", "--json"]);
    dev.line_of("dev.ready");
    crate::harness::kill(dev.pid());
    drop(dev);
    place.wait_until_nobody_lives();
    let dev = place.start(&["dev", "--json"]);
    dev.line_of("dev.ready");
    terminate(dev.pid());
    assert_eq!(dev.end().0, Some(0));
    place.wait_until_nobody_lives();
}
