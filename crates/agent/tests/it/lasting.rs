//! Programs that last: they outlive their streams, and whoever comes back misses nothing and gets nothing twice.

use domain::ids::StreamId;
use protocol::tunnel::{Control, Frame, KEPT_BYTES, Lasting, Open, Position, Standing};
use uuid::Uuid;

use crate::session::{EXITED, Used, prepared};

fn open(used: &Used, id: Uuid, resume: Option<Position>, script: &str) -> Open {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let lasting = Some(Lasting { id, resume });
    Open::Exec { session: used.session, argv, env: vec![], cwd: None, terminal: None, lasting }
}

/// A stream to the program, and where it stands.
async fn come(
    used: &mut Used,
    id: Uuid,
    resume: Option<Position>,
    script: &str,
) -> Result<(StreamId, Standing), String> {
    let stream = StreamId::new();
    let open = open(used, id, resume, script);
    used.tunnel.send(Frame::Open(stream, open)).await;
    loop {
        match used.tunnel.next().await {
            Frame::Control(of, Control::Opened { standing, .. }) if of == stream => {
                return Ok((stream, standing.expect("it lasts")));
            }
            Frame::Control(of, Control::Refused { why }) if of == stream => return Err(why),
            // An earlier stream's frames may have been under way.
            Frame::Control(of, _) | Frame::Data(of, _) | Frame::ErrorData(of, _) | Frame::Credit(of, _)
                if of != stream => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

/// The server's client is gone.
async fn break_off(used: &mut Used, stream: StreamId) {
    let why = "the client's connection broke".to_owned();
    used.tunnel.send(Frame::Control(stream, Control::Reset { why })).await;
}

fn at(stdout: u64) -> Option<Position> {
    Some(Position { stdout, stderr: 0 })
}

#[tokio::test]
async fn a_program_goes_on_without_its_stream_and_is_come_back_to() {
    let mut used = prepared().await;
    let id = Uuid::new_v4();
    let script = "echo started >> ~/starts; echo one; while read line; do echo got $line; done; cat ~/starts; exit 3";
    let (stream, standing) = come(&mut used, id, None, script).await.expect("starts");
    assert_eq!(standing, Standing::default());
    assert_eq!(used.see(stream, "one\n").await, "one\n");
    used.type_in(stream, "a\n").await;
    assert_eq!(used.see(stream, "got a\n").await, "got a\n");
    // The tunnel is lost. Asking for the same program once more starts no second.
    used.tunnel.cut();
    used.tunnel = used.peer.tunnel().await;
    let (stream, standing) = come(&mut used, id, None, script).await.expect("is there");
    assert_eq!((standing.received, standing.taken), (2, 2));
    assert_eq!(used.see(stream, "got a\n").await, "one\ngot a\n", "all from the start");
    // From where it was.
    break_off(&mut used, stream).await;
    let (stream, _) = come(&mut used, id, at(4), "").await.expect("is there");
    used.type_in(stream, "b\n").await;
    used.tunnel.send(Frame::Control(stream, Control::EndOfInput)).await;
    let (output, _, last) = used.read(stream).await;
    assert_eq!(String::from_utf8_lossy(&output), "got a\ngot b\nstarted\n");
    assert_eq!(last, Control::Exited { code: Some(3), signal: None });
    // Its end may not have arrived.
    let (stream, _) = come(&mut used, id, at(16), "").await.expect("is still known");
    assert_eq!(
        used.read(stream).await,
        (b"started\n".to_vec(), vec![], Control::Exited { code: Some(3), signal: None })
    );
    used.revert().await;
}

#[tokio::test]
async fn a_later_stream_takes_the_program_over() {
    let mut used = prepared().await;
    let id = Uuid::new_v4();
    let (first, _) = come(&mut used, id, None, "echo ready; cat").await.expect("starts");
    used.see(first, "ready\n").await;
    let (second, _) = come(&mut used, id, at(6), "").await.expect("is there");
    used.type_in(first, "from the first\n").await;
    used.type_in(second, "from the second\n").await;
    used.tunnel.send(Frame::Control(second, Control::EndOfInput)).await;
    assert_eq!(used.read(second).await, (b"from the second\n".to_vec(), vec![], EXITED));
    used.revert().await;
}

#[tokio::test]
async fn what_has_arrived_is_not_kept_and_what_has_not_holds_the_program() {
    let mut used = prepared().await;
    let id = Uuid::new_v4();
    let script = "head -c 3000000 /dev/zero; echo written > ~/written";
    let (stream, _) = come(&mut used, id, None, script).await.expect("starts");
    break_off(&mut used, stream).await;
    // It is held: nobody takes what it writes.
    let (mut length, mut standing) = (0, Standing::default());
    while !standing.was_held {
        let stream;
        (stream, standing) = come(&mut used, id, at(0), "").await.expect("is there");
        break_off(&mut used, stream).await;
    }
    let probe = used.exec("test -e ~/written").await;
    assert_eq!(used.read(probe).await.2, Control::Exited { code: Some(1), signal: None });
    let (stream, _) = come(&mut used, id, at(0), "").await.expect("is there");
    loop {
        match used.tunnel.next().await {
            Frame::Data(of, data) if of == stream => {
                length += data.len();
                let credit = u32::try_from(data.len()).expect("short");
                used.tunnel.send(Frame::Credit(stream, credit)).await;
                let arrived = Position { stdout: length as u64, stderr: 0 };
                used.tunnel.send(Frame::Control(stream, Control::Received(arrived))).await;
            }
            Frame::Control(of, control) if of == stream => break assert_eq!(control, EXITED),
            _ => {}
        }
    }
    assert_eq!(length, 3_000_000);
    assert!(length > KEPT_BYTES);
    let gone = come(&mut used, id, at(1), "").await.expect_err("is not kept");
    assert!(gone.contains("not kept any more"), "{gone}");
    used.revert().await;
}

#[tokio::test]
async fn nobody_comes_back_to_what_was_hung_up() {
    let mut used = prepared().await;
    let id = Uuid::new_v4();
    let script = "trap 'echo hup > ~/mark; exit' HUP; echo ready; while :; do sleep 0.1; done";
    let (stream, _) = come(&mut used, id, None, script).await.expect("starts");
    used.see(stream, "ready\n").await;
    used.tunnel.send(Frame::Control(stream, Control::HangUp)).await;
    let probe = used.exec("until grep -q hup ~/mark 2>/dev/null; do sleep 0.05; done").await;
    assert_eq!(used.read(probe).await.2, EXITED);
    let why = loop {
        // Its end is seen a moment later.
        match come(&mut used, id, at(0), "").await {
            Ok((stream, _)) => drop(used.read(stream).await),
            Err(why) => break why,
        }
    };
    assert!(why.contains("is not there any more"), "{why}");
    used.revert().await;
}
