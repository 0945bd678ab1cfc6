// Command dns-relay passes DNS questions on: `dns-relay LISTEN SERVER`, each an address with its port.
//
// On a user-defined network the daemon's own container asks Docker's resolver at 127.0.0.11, which the containers inside
// it cannot reach; dockerd would give them 8.8.8.8 instead. With this relay they resolve names as the daemon does.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"
)

const (
	answerLimit   = 10 * time.Second
	datagramBytes = 65535
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("dns-relay: ")
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: dns-relay LISTEN SERVER")
		os.Exit(2)
	}
	datagrams, err := net.ListenPacket("udp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	streams, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	go relayStreams(streams, os.Args[2])
	relayDatagrams(datagrams, os.Args[2])
}

func relayDatagrams(listener net.PacketConn, server string) {
	question := make([]byte, datagramBytes)
	for {
		size, client, err := listener.ReadFrom(question)
		if err != nil {
			log.Fatal(err)
		}
		go func(question []byte) {
			if answer, err := ask(server, question); err == nil {
				listener.WriteTo(answer, client)
			}
		}(append([]byte(nil), question[:size]...))
	}
}

func ask(server string, question []byte) ([]byte, error) {
	connection, err := net.DialTimeout("udp", server, answerLimit)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(answerLimit))
	if _, err := connection.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, datagramBytes)
	size, err := connection.Read(answer)
	return answer[:size], err
}

func relayStreams(listener net.Listener, server string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer client.Close()
			upstream, err := net.DialTimeout("tcp", server, answerLimit)
			if err != nil {
				return
			}
			defer upstream.Close()
			for _, connection := range []net.Conn{client, upstream} {
				connection.SetDeadline(time.Now().Add(answerLimit))
			}
			go func() {
				io.Copy(upstream, client)
				upstream.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(client, upstream)
		}()
	}
}
