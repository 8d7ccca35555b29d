// A server that speaks MongoDB's protocol, for tests: FerretDB, with its data in SQLite files.
//
// FerretDB's own program cannot be built from its module, because a generated file is missing there; its library can.
//
// MongoDB changes a document as a whole: of two updates that expect one state, one finds it. FerretDB 1 with SQLite reads
// the documents first and writes them afterwards, so both would. It therefore gets one command at a time.
package main

import (
	"context"
	"encoding/binary"
	"io"
	"log"
	"net"
	"os"
	"sync"

	"github.com/FerretDB/FerretDB/ferretdb"
)

const socket = "ferretdb.sock"

var turn sync.Mutex

// The address to listen at, and the folder for the data.
func main() {
	os.Remove(socket)
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Handler:   "sqlite",
		SQLiteURL: "file:" + os.Args[2] + "/",
	})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				log.Fatal(err)
			}
			go serve(client)
		}
	}()
	log.Fatal(server.Run(context.Background()))
}

// Hands a client's commands to the server, one at a time.
func serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer server.Close()
	for {
		command, err := message(client)
		if err != nil {
			return
		}
		answer, err := ask(server, command)
		if err != nil {
			return
		}
		if _, err = client.Write(answer); err != nil {
			return
		}
	}
}

func ask(server net.Conn, command []byte) ([]byte, error) {
	turn.Lock()
	defer turn.Unlock()
	if _, err := server.Write(command); err != nil {
		return nil, err
	}
	return message(server)
}

// Reads a message: its length stands first, and counts itself.
func message(from io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(head[:])
	if length < 16 || length > 64<<20 {
		return nil, io.ErrUnexpectedEOF
	}
	whole := make([]byte, length)
	copy(whole, head[:])
	_, err := io.ReadFull(from, whole[4:])
	return whole, err
}
