//! Ann and Bob in a room of the chat example.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::hosted::LIMIT;

const ROUNDS: usize = 3;

/// Each comes in at a host of their own; they talk in rounds, before each of which the room has gone out of memory.
pub async fn talk(ann: (SocketAddr, &str), bob: (SocketAddr, &str), messages: usize, asleep: impl Fn() -> bool) {
    let connect = |(address, room): (SocketAddr, &str), name: &str| {
        tokio_tungstenite::connect_async(format!("ws://{address}/{room}/socket?name={name}"))
    };
    let (mut ann, _) = connect(ann, "ann").await.expect("is let in");
    let (mut bob, _) = connect(bob, "bob").await.expect("is let in");
    hear(&mut ann, "ann is here").await;
    hear(&mut ann, "bob is here").await;
    hear(&mut bob, "bob is here").await;
    for round in 0..ROUNDS {
        let gone = tokio::time::timeout(LIMIT, async {
            while !asleep() {
                tokio::task::yield_now().await;
            }
        });
        gone.await.expect("hibernates");
        for number in 0..messages {
            bob.send(Message::text(format!("{round}-{number}."))).await.expect("is sent");
        }
        for number in 0..messages {
            hear(&mut ann, &format!("{round}-{number}.")).await;
            hear(&mut bob, &format!("{round}-{number}.")).await;
        }
    }
    ann.send(Message::text("ping")).await.expect("is sent");
    hear(&mut ann, "pong").await;
    bob.close(None).await.expect("is closed");
    hear(&mut ann, "bob has left").await;
}

/// The next message of a socket has that in it.
async fn hear<S>(socket: &mut S, wanted: &str)
where
    S: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    let message = tokio::time::timeout(LIMIT, socket.next()).await.expect("in time").expect("open").expect("fine");
    let text = message.into_text().expect("is text");
    assert!(text.contains(wanted), "{text} has no {wanted}");
}
