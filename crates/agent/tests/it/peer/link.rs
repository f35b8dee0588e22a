//! The server's ends of an agent's two connections.

use domain::{
    ids::{HostId, TransactionId},
    instructions::Work,
};
use futures_util::{SinkExt, StreamExt};
use protocol::{MachineReport, Outcome, ProgressEvent, Secrets, ToAgent, ToServer, VERSION, tunnel::Frame};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{Replay, within};

pub struct Link {
    pub(super) socket: WebSocketStream<Replay>,
    /// Of the client's certificate.
    pub serial: String,
    /// What the agent told of its machines since the link was opened.
    pub reports: Vec<MachineReport>,
}

/// How a transaction ended, as the server saw it.
#[derive(Debug, PartialEq)]
pub struct Ended {
    pub outcome: Outcome,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub started: bool,
    pub steps: Vec<domain::sessions::Step>,
}

impl Link {
    pub async fn send(&mut self, message: ToAgent) {
        let frame = protocol::encode(&message).expect("encodes");
        self.send_raw(Message::Binary(frame.into())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.expect("the agent is there");
    }

    /// The agent may go in the middle of it.
    pub async fn try_send_raw(&mut self, message: Message) {
        if let Err(error) = self.socket.send(message).await {
            println!("not sent to the end: {error}");
        }
    }

    pub async fn welcome(&mut self, host: HostId) {
        let server_time_ms = agent::clock::now().as_millisecond();
        self.send(ToAgent::Welcome { version: VERSION, host, host_name: "h".to_owned(), server_time_ms }).await;
    }

    /// Whether something came before the link ended, however long it took.
    pub async fn hears(&mut self) -> bool {
        matches!(self.socket.next().await, Some(Ok(message)) if !message.is_close())
    }

    /// The next message, or the close code.
    pub async fn try_next(&mut self) -> Result<ToServer, Option<u16>> {
        loop {
            match within("a message", self.socket.next()).await {
                Some(Ok(Message::Binary(frame))) => return Ok(protocol::decode(&frame).expect("a message")),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("unexpected {other:?}"),
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    pub async fn next(&mut self) -> ToServer {
        self.try_next().await.unwrap_or_else(|code| panic!("the agent closed the link: {code:?}"))
    }

    /// The next message that is no heartbeat and no machine's report.
    pub async fn next_answer(&mut self) -> ToServer {
        loop {
            match self.next().await {
                ToServer::Heartbeat { .. } => {}
                ToServer::Machine(report) => self.reports.push(report),
                other => return other,
            }
        }
    }

    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.try_next().await {
                return code;
            }
        }
    }

    pub async fn offer(&mut self, transaction: TransactionId) {
        self.send(ToAgent::Offer { transaction }).await;
    }

    /// Offers, waits for the claim, instructs.
    pub async fn instruct(&mut self, transaction: TransactionId, work: Work) {
        self.instruct_with(transaction, work, None).await;
    }

    /// The same with what no log may know.
    pub async fn instruct_with(&mut self, transaction: TransactionId, work: Work, secrets: Option<Secrets>) {
        self.offer(transaction).await;
        loop {
            match self.next_answer().await {
                ToServer::Claim { transaction: claimed } => {
                    assert_eq!(claimed, transaction);
                    break;
                }
                // Of earlier ones that are not acknowledged.
                ToServer::Progress { .. } | ToServer::Result { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        self.send(ToAgent::Instructions { transaction, work, secrets }).await;
    }

    /// Waits for the result; progress must come in order.
    pub async fn ended(&mut self, transaction: TransactionId) -> Ended {
        let mut ended =
            Ended { outcome: Outcome::Cancelled, stdout: vec![], stderr: vec![], started: false, steps: vec![] };
        let mut last = None;
        loop {
            match self.next_answer().await {
                ToServer::Progress { transaction: of, seq, event } => {
                    assert_eq!(of, transaction);
                    assert!(last.is_none_or(|last| last < seq), "{seq} after {last:?}");
                    last = Some(seq);
                    match event {
                        ProgressEvent::Started => ended.started = true,
                        ProgressEvent::Step(step) => ended.steps.push(step),
                        ProgressEvent::Stdout(bytes) => ended.stdout.extend(bytes),
                        ProgressEvent::Stderr(bytes) => ended.stderr.extend(bytes),
                    }
                }
                ToServer::Result { transaction: of, outcome } => {
                    assert_eq!(of, transaction);
                    ended.outcome = outcome;
                    return ended;
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub async fn acknowledge(&mut self, transaction: TransactionId) {
        self.send(ToAgent::Acknowledge { transaction }).await;
    }

    /// Waits until the agent has said that the transaction started.
    pub async fn started(&mut self, transaction: TransactionId) {
        loop {
            if let ToServer::Progress { transaction: of, event: ProgressEvent::Started, .. } = self.next_answer().await
            {
                assert_eq!(of, transaction);
                return;
            }
        }
    }
}

pub struct Tunnel {
    pub(super) socket: WebSocketStream<Replay>,
}

impl Tunnel {
    /// Breaks the connection under it.
    pub fn cut(&self) {
        let tcp = self.socket.get_ref().stream.get_ref().0;
        rustix::net::shutdown(tcp, rustix::net::Shutdown::Both).expect("was connected");
    }

    pub async fn send(&mut self, frame: Frame) {
        let bytes = frame.encode().expect("encodes");
        self.socket.send(Message::Binary(bytes)).await.expect("the agent is there");
    }

    /// The next frame, however long it takes; none once the tunnel is lost.
    pub async fn try_next(&mut self) -> Option<Frame> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => return Some(Frame::decode(bytes).expect("a frame")),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    }

    pub async fn next(&mut self) -> Frame {
        loop {
            match within("a frame", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => return Frame::decode(bytes).expect("a frame"),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("the tunnel is lost: {other:?}"),
            }
        }
    }
}
