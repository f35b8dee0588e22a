//! Streams of a tunnel, each as a connection.

use std::collections::HashMap;

use bytes::Bytes;
use domain::ids::StreamId;
use protocol::tunnel::{Control, Frame, Open};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};

use super::{Tunnel, within};

/// The server's end of the tunnel, by which connections are opened as if it were a network.
pub struct Network(mpsc::Sender<(StreamId, Option<Frame>, Option<mpsc::Sender<Frame>>)>);

impl Network {
    pub fn over(mut tunnel: Tunnel) -> Self {
        let (orders, mut queue) = mpsc::channel::<(StreamId, Option<Frame>, Option<mpsc::Sender<Frame>>)>(64);
        tokio::spawn(async move {
            let mut streams: HashMap<StreamId, mpsc::Sender<Frame>> = HashMap::new();
            loop {
                tokio::select! {
                    order = queue.recv() => match order {
                        None => return,
                        Some((stream, frame, listener)) => {
                            if let Some(listener) = listener {
                                streams.insert(stream, listener);
                            }
                            if let Some(frame) = frame {
                                tunnel.send(frame).await;
                            }
                        }
                    },
                    frame = tunnel.try_next() => {
                        let Some(frame) = frame else { return };
                        let stream = match &frame {
                            Frame::Data(of, _) | Frame::ErrorData(of, _) | Frame::Credit(of, _)
                            | Frame::Control(of, _) | Frame::Open(of, _) => *of,
                        };
                        if let Some(listener) = streams.get(&stream) {
                            // Its reader may be gone.
                            drop(listener.send(frame).await);
                        }
                    }
                }
            }
        });
        Self(orders)
    }

    /// A new stream; or why there is none.
    pub async fn open(&self, open: Open) -> Result<DuplexStream, String> {
        let stream = StreamId::new();
        let (sender, mut frames) = mpsc::channel(64);
        self.0.send((stream, Some(Frame::Open(stream, open)), Some(sender))).await.expect("the tunnel");
        match within("an answer", frames.recv()).await {
            Some(Frame::Control(_, Control::Opened { .. })) => {}
            Some(Frame::Control(_, Control::Refused { why })) => return Err(why),
            other => panic!("unexpected {other:?}"),
        }
        let (mine, theirs) = tokio::io::duplex(64 * 1024);
        let (mut from, mut to) = tokio::io::split(theirs);
        let orders = self.0.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 8 * 1024];
            while let Ok(length @ 1..) = from.read(&mut buffer).await {
                let data = Frame::Data(stream, Bytes::copy_from_slice(&buffer[..length]));
                if orders.send((stream, Some(data), None)).await.is_err() {
                    return;
                }
            }
        });
        let orders = self.0.clone();
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                match frame {
                    Frame::Data(_, data) => {
                        let credit = Frame::Credit(stream, u32::try_from(data.len()).expect("short"));
                        if to.write_all(&data).await.is_err()
                            || orders.send((stream, Some(credit), None)).await.is_err()
                        {
                            return;
                        }
                    }
                    Frame::Control(..) => return drop(to.shutdown().await),
                    _ => {}
                }
            }
        });
        Ok(mine)
    }
}
