//! Runs that wait, and become a person's.

use super::*;

fn warm_spec() -> WarmSpec {
    let RunSpec { run, software, limits, .. } = spec(VolumeId::new(), NEEDED_REQUIREMENTS);
    WarmSpec { run, name: "warm".to_owned(), software, limits }
}

async fn warm(link: &mut Link, spec: &WarmSpec) -> Ended {
    let id = TransactionId::new();
    let secrets = Secrets([(TOKEN.to_owned(), SECRET.to_owned())].into());
    link.instruct_with(id, Work::WarmNotebook { spec: spec.clone() }, Some(secrets)).await;
    let ended = link.ended(id).await;
    link.acknowledge(id).await;
    ended
}

fn gift(run: RunId, notebook: NotebookId, volume: VolumeId) -> Work {
    Work::GiveNotebook { run, notebook, name: "ann-1".to_owned(), volume, volume_bytes: 1 << 30 }
}

async fn give(link: &mut Link, work: Work) -> Ended {
    let (id, began) = (TransactionId::new(), Instant::now());
    link.instruct(id, work).await;
    let ended = link.ended(id).await;
    println!("given within {:?}: {:?}", began.elapsed(), ended.outcome);
    link.acknowledge(id).await;
    ended
}

async fn end(link: &mut Link, notebook: NotebookId, run: RunId) {
    let ended = give(link, Work::StopNotebook { notebook, run, name: "ann-1".to_owned() }).await;
    assert_eq!(ended.outcome, DONE);
}

/// The names in the home, as JupyterLab lists them.
async fn listed(network: &Network, run: RunId) -> Vec<String> {
    let (status, body) = network.ask(run, "GET", "/api/contents", SECRET).await;
    assert_eq!(status, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let names = body["content"].as_array().expect("a list").iter();
    names.map(|entry| entry["name"].as_str().expect("a name").to_owned()).collect()
}

/// The shell of a terminal that was opened without saying where.
async fn shell(network: &Network, run: RunId) -> i32 {
    let (status, body) = network.ask(run, "POST", "/api/terminals", SECRET).await;
    assert_eq!(status, 200, "{body}");
    let of = jupyter(run);
    let find = || {
        let parent = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<i32>().ok())
        };
        processes(run).into_iter().find(|pid| parent(pid) == Some(of) && program(*pid).contains("sh "))
    };
    let is_shell = |pid: i32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("bash"));
    until("the terminal's shell runs", || find().is_some_and(is_shell)).await;
    find().expect("runs")
}

#[tokio::test]
async fn a_run_that_waits_becomes_a_persons() {
    let Ready { mut peer, mut host, mut link, volume, _environment } = Ready::start().await;
    let (first, second) = (warm_spec(), warm_spec());
    let ended = warm(&mut link, &first).await;
    assert_eq!(ended.outcome, DONE, "{ended:?}");
    let image = host.state().join(format!("notebooks/volumes/{volume}.img"));
    assert_eq!(holders(&image), 0);
    // What lies in the home of a run that waits is nobody's.
    std::fs::write(format!("/proc/{}/root/home/berth/nobodys", jupyter(first.run)), "").expect("is written");

    // The agent dies before it is given.
    host.kill();
    peer.forget_tunnels();
    host.start();
    let mut link = peer.raw_link().await;
    let ToServer::Hello { runs, .. } = link.next().await else { panic!("no Hello") };
    assert_eq!(runs, [first.run]);
    link.welcome(peer.authority.host).await;
    let network = Network::over(peer.tunnel().await);
    assert_eq!(listed(&network, first.run).await, ["nobodys"]);
    let notebook = NotebookId::new();
    let ended = give(&mut link, gift(first.run, notebook, volume)).await;
    assert_eq!(ended.outcome, DONE, "{ended:?}");
    assert!(ended.steps.iter().any(|step| step.name == "files" && step.state == StepState::Done), "{ended:?}");
    let names = listed(&network, first.run).await;
    assert!(names.contains(&"kept".to_owned()) && !names.contains(&"nobodys".to_owned()), "{names:?}");
    let id = network.new_kernel(first.run).await;
    let mut kernel = network.kernel(first.run, &id).await;
    assert_eq!(kernel.run("import os; print(os.getcwd(), open('kept').read())").await, "/home/berth kept");
    kernel.run("open('given', 'w').write('given')").await;
    assert_eq!(kernel.run("print(os.stat('given').st_uid, os.stat('.').st_uid, os.getuid())").await, "1000 1000 1000");
    let at = format!("/proc/{}/cwd", shell(&network, first.run).await);
    assert!(Path::new(&at).join("kept").exists(), "a terminal begins among the files");
    let layouts = Path::new(&at).join(format!(".jupyter/lab/workspaces/{notebook}"));
    let (status, body) = network.ask(first.run, "GET", "/lab/api/workspaces/default", SECRET).await;
    assert!(status == 200 && layouts.is_dir(), "{body}");
    let open = names_of_open_files(jupyter(first.run));
    assert!(!open.iter().any(|path| path.contains("/home/")), "nothing of the old home is held: {open:?}");

    // The same again is done; another's is refused and changes nothing. Then the agent dies, and all is as before.
    assert_eq!(give(&mut link, gift(first.run, notebook, volume)).await.outcome, DONE);
    let ended = give(&mut link, gift(first.run, NotebookId::new(), VolumeId::new())).await;
    assert!(
        matches!(&ended.outcome, Outcome::Failed { cause, .. } if cause.contains("another notebook's")),
        "{ended:?}"
    );
    let ended = give(&mut link, gift(RunId::new(), notebook, volume)).await;
    assert!(matches!(&ended.outcome, Outcome::Failed { .. }), "{ended:?}");
    host.kill();
    peer.forget_tunnels();
    host.start();
    let (mut link, _) = peer.link().await;
    let network = Network::over(peer.tunnel().await);
    assert_eq!(give(&mut link, gift(first.run, notebook, volume)).await.outcome, DONE);
    let mut kernel = network.kernel(first.run, &id).await;
    assert_eq!(kernel.run("print(open('given').read())").await, "given");

    // The agent dies in the middle of giving.
    assert_eq!(warm(&mut link, &second).await.outcome, DONE);
    let (id, other) = (TransactionId::new(), NotebookId::new());
    link.instruct(id, gift(second.run, other, volume)).await;
    link.started(id).await;
    host.kill();
    peer.forget_tunnels();
    host.start();
    let (mut link, open) = peer.link().await;
    assert!(open.contains(&id), "{open:?}");
    let given = loop {
        if let ToServer::Result { transaction, outcome } = link.next_answer().await {
            link.acknowledge(transaction).await;
            if transaction == id {
                break outcome;
            }
        }
    };
    assert_eq!(given, DONE);
    let network = Network::over(peer.tunnel().await);
    assert!(listed(&network, second.run).await.contains(&"given".to_owned()));
    assert_eq!(holders(&image), 1, "both have them through one device");

    // A failure ends the run.
    let third = warm_spec();
    assert_eq!(warm(&mut link, &third).await.outcome, DONE);
    let damaged = VolumeId::new();
    std::fs::write(host.state().join(format!("notebooks/volumes/{damaged}.img")), "no file system").expect("written");
    let ended = give(&mut link, gift(third.run, NotebookId::new(), damaged)).await;
    assert!(matches!(&ended.outcome, Outcome::Failed { cause, .. } if cause.contains("damaged")), "{ended:?}");
    assert_gone(&host, third.run).await;
    for (notebook, run) in [(notebook, first.run), (other, second.run)] {
        end(&mut link, notebook, run).await;
        assert_gone(&host, run).await;
    }
    until("nobody holds the files", || holders(&image) == 0).await;
}

fn names_of_open_files(pid: i32) -> Vec<String> {
    let open = names(Path::new(&format!("/proc/{pid}/fd")));
    open.iter().filter_map(|path| std::fs::read_link(path).ok()).map(|path| path.display().to_string()).collect()
}
