// A daemon in Go: static, with its own runtime, and no thought of locking.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	buffer := make([]byte, 16<<20)
	for i := 0; i < len(buffer); i += 4096 {
		buffer[i] = 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("ready")
	<-stop
	fmt.Println(len(buffer))
}
