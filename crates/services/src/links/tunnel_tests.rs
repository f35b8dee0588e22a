#![allow(clippy::wildcard_enum_match_arm, reason = "any other frame fails the test")]

use domain::ids::{HostId, SessionId, TenantId};
use jiff::Timestamp;
use protocol::tunnel::Target;

use super::*;

fn tunnel() -> Arc<Tunnel> {
    Tunnel::new(Peer {
        tenant: TenantId::new(),
        host: HostId::new(),
        name: "h".to_owned(),
        serial: "01".to_owned(),
        expires_at: Timestamp::MAX,
    })
}

fn open(tunnel: &Arc<Tunnel>) -> (ByteStream, StreamId) {
    let stream = tunnel.open(Open::Connect { session: SessionId::new(), to: Target::Port(1) }).unwrap();
    match tunnel.take() {
        Some(Frame::Open(id, _)) => (stream, id),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn streams_take_turns() {
    let tunnel = tunnel();
    let ((a, a_id), (b, b_id)) = (open(&tunnel), open(&tunnel));
    a.write(Bytes::from(vec![1; 40_000])).await.unwrap();
    b.write(Bytes::from(vec![2; 20_000])).await.unwrap();
    let order: Vec<StreamId> = std::iter::from_fn(|| tunnel.take())
        .map(|frame| match frame {
            Frame::Data(id, data) => {
                assert!(data.len() <= MAX_DATA_BYTES);
                id
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(order, [a_id, b_id, a_id, b_id, a_id]);
}

#[tokio::test]
async fn no_more_than_the_credit_is_sent_and_the_end_of_input_comes_after_the_data() {
    let tunnel = tunnel();
    let (stream, id) = open(&tunnel);
    let total = usize::try_from(INITIAL_CREDIT_BYTES).unwrap() + 1_000;
    let (_reader, writer) = stream.split();
    let sending = {
        let writer = writer.clone();
        tokio::spawn(async move {
            writer.write(Bytes::from(vec![0; total])).await?;
            writer.control(Control::EndOfInput)
        })
    };
    let mut sent = 0;
    while sent < usize::try_from(INITIAL_CREDIT_BYTES).unwrap() {
        match tunnel.next().await {
            Frame::Data(_, data) => sent += data.len(),
            other => panic!("{other:?}"),
        }
    }
    sending.await.unwrap().unwrap();
    assert_eq!(sent, usize::try_from(INITIAL_CREDIT_BYTES).unwrap());
    assert_eq!(tunnel.take(), None, "the credit is used up");
    writer.control(Control::Signal(2)).unwrap();
    assert_eq!(tunnel.take(), Some(Frame::Control(id, Control::Signal(2))), "a signal overtakes");
    tunnel.received(Frame::Credit(id, 5_000)).unwrap();
    assert!(matches!(tunnel.take(), Some(Frame::Data(_, data)) if data.len() == 1_000));
    assert_eq!(tunnel.take(), Some(Frame::Control(id, Control::EndOfInput)));
}

#[tokio::test]
async fn a_reader_that_stalls_holds_back_its_own_stream_alone() {
    let tunnel = tunnel();
    let ((stalled, stalled_id), (mut quick, quick_id)) = (open(&tunnel), open(&tunnel));
    let piece = || Bytes::from(vec![7; MAX_DATA_BYTES]);
    let rounds = INITIAL_CREDIT_BYTES / u32::try_from(MAX_DATA_BYTES).unwrap();
    for _ in 0..rounds {
        tunnel.received(Frame::Data(stalled_id, piece())).unwrap();
    }
    for _ in 0..rounds * 3 {
        tunnel.received(Frame::ErrorData(quick_id, piece())).unwrap();
        assert_eq!(quick.next().await, Some(Chunk::Stderr(piece())));
        while let Some(frame) = tunnel.take() {
            assert_eq!(frame, Frame::Credit(quick_id, GRANT_BYTES), "only the reader's own stream gets credit");
        }
    }
    // One byte more than was granted: the stream is reset, the tunnel stays.
    tunnel.received(Frame::Data(stalled_id, Bytes::from_static(b"x"))).unwrap();
    assert!(matches!(tunnel.take(), Some(Frame::Control(id, Control::Reset { .. })) if id == stalled_id));
    assert_eq!(stalled.write(Bytes::from_static(b"x")).await, Err(StreamClosed::Ended));
    tunnel.received(Frame::Data(quick_id, Bytes::from_static(b"on"))).unwrap();
    assert_eq!(quick.next().await, Some(Chunk::Stdout(Bytes::from_static(b"on"))));
}

#[tokio::test]
async fn what_came_before_the_end_is_read_and_then_nothing() {
    let tunnel = tunnel();
    let (mut stream, id) = open(&tunnel);
    tunnel.received(Frame::Control(id, Control::Opened { terminal: None, standing: None })).unwrap();
    tunnel.received(Frame::Data(id, Bytes::from_static(b"out"))).unwrap();
    let exited = Control::Exited { code: Some(3), signal: None };
    tunnel.received(Frame::Control(id, exited.clone())).unwrap();
    assert_eq!(stream.next().await, Some(Chunk::Control(Control::Opened { terminal: None, standing: None })));
    assert_eq!(stream.next().await, Some(Chunk::Stdout(Bytes::from_static(b"out"))));
    assert_eq!(stream.next().await, Some(Chunk::Control(exited)));
    assert_eq!(stream.next().await, None);
    drop(stream);
    assert_eq!(tunnel.take(), None, "a stream that ended by itself is not reset");
    assert_eq!(tunnel.streams(), 0);
}

#[tokio::test]
async fn a_dropped_stream_is_reset_and_a_lost_tunnel_ends_its_streams() {
    let tunnel = tunnel();
    let (stream, id) = open(&tunnel);
    drop(stream);
    assert!(matches!(tunnel.take(), Some(Frame::Control(reset, Control::Reset { .. })) if reset == id));
    let (mut stream, _) = open(&tunnel);
    let waiting = tokio::spawn(async move { (stream.next().await, stream.next().await) });
    tokio::task::yield_now().await;
    tunnel.end();
    let (last, after) = waiting.await.unwrap();
    assert!(matches!(last, Some(Chunk::Control(Control::Reset { .. }))), "{last:?}");
    assert_eq!(after, None);
    assert!(tunnel.open(Open::Connect { session: SessionId::new(), to: Target::Port(1) }).is_err());
}

fn requests(deployment: DeploymentId) -> Open {
    Open::Objects { door: Door::Requests, deployment: Some(deployment) }
}

/// As many as are let in, and why no more.
fn crowd(tunnel: &Arc<Tunnel>, open: impl Fn() -> Open) -> (Vec<ByteStream>, StreamClosed) {
    let mut streams = Vec::new();
    loop {
        match tunnel.open(open()) {
            Ok(stream) => streams.push(stream),
            Err(full) => return (streams, full),
        }
    }
}

#[test]
fn requests_of_anybody_leave_room_for_the_rest() {
    let tunnel = tunnel();
    let crowded = DeploymentId::new();
    let (of_one, full) = crowd(&tunnel, || requests(crowded));
    assert_eq!((of_one.len(), full), (MAX_DEPLOYMENT_STREAMS, StreamClosed::TooManyOfDeployment));
    let (of_others, full) = crowd(&tunnel, || requests(DeploymentId::new()));
    assert_eq!((of_one.len() + of_others.len(), full), (MAX_REQUEST_STREAMS, StreamClosed::TooManyRequests));
    let (questions, full) = crowd(&tunnel, || Open::Objects { door: Door::Control, deployment: None });
    assert_eq!((questions.len(), full), (MAX_CONTROL_STREAMS, StreamClosed::TooManyQuestions));
    let terminal = || Open::Connect { session: SessionId::new(), to: Target::Port(1) };
    let (terminals, full) = crowd(&tunnel, terminal);
    assert_eq!(full, StreamClosed::TooMany);
    assert_eq!(terminals.len(), MAX_STREAMS - MAX_REQUEST_STREAMS - MAX_CONTROL_STREAMS);

    // Who is refused takes up nothing, and what ends gives its place back.
    drop((of_others, questions, terminals));
    assert_eq!(tunnel.streams(), MAX_DEPLOYMENT_STREAMS);
    assert_eq!(tunnel.open(requests(crowded)).err(), Some(StreamClosed::TooManyOfDeployment));
    drop(of_one);
    let (again, _) = crowd(&tunnel, || requests(crowded));
    assert_eq!(again.len(), MAX_DEPLOYMENT_STREAMS);
    drop(again);
    let state = tunnel.state.lock();
    assert_eq!((state.shares.all, state.shares.requests, state.shares.deployments.len()), (0, 0, 0));
}

#[test]
fn a_host_cannot_open_streams() {
    let tunnel = tunnel();
    let open = Open::Connect { session: SessionId::new(), to: Target::Port(1) };
    assert!(tunnel.received(Frame::Open(StreamId::new(), open)).is_err());
    assert!(tunnel.received(Frame::Control(StreamId::new(), Control::EndOfInput)).is_err());
    // Of a stream that was given up meanwhile: no fault.
    assert!(tunnel.received(Frame::Data(StreamId::new(), Bytes::from_static(b"late"))).is_ok());
}
