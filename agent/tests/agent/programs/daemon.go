// A daemon in Go: says who it is and waits until a signal ends it.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	fmt.Printf("pid %d [%s]\n", os.Getpid(), strings.Join(os.Args, "] ["))
	for {
		time.Sleep(time.Hour)
	}
}
