// Runs a task with amqp091-go, like src/worker.ts: it reads the task from the same environment variable
// and prints the measurement as a line of JSON. Debian: golang-go, golang-github-rabbitmq-amqp091-go-dev.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

type pass struct {
	Queue string `json:"queue"`
	Count int    `json:"count"`
}

type task struct {
	Workload string `json:"workload"`
	URL      string `json:"url"`
	Size     int    `json:"size"`
	Window   int    `json:"window"`
	WarmUp   pass   `json:"warmUp"`
	Measured pass   `json:"measured"`
}

type measurement struct {
	Nanoseconds     int64 `json:"nanoseconds"`
	CPUMicroseconds int64 `json:"cpuMicroseconds"`
	PeakRSSBytes    int64 `json:"peakRssBytes"`
}

type client struct {
	connection *amqp.Connection
	channel    *amqp.Channel
	confirms   chan amqp.Confirmation
	message    amqp.Publishing
	window     int
}

var background = context.Background()

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (c *client) declarePassive(queue string) {
	_, err := c.channel.QueueDeclarePassive(queue, false, false, false, false, nil)
	check(err)
}

func publish(c *client, p pass) {
	for published := 0; published < p.Count; published++ {
		check(c.channel.PublishWithContext(background, "", p.Queue, false, false, c.message))
	}
	// the broker replies after it has handled all earlier publishes on the same channel
	c.declarePassive(p.Queue)
}

func (c *client) awaitConfirm() {
	confirmation, open := <-c.confirms
	if !open || !confirmation.Ack {
		check(errors.New("the server has refused a message, or closed the channel"))
	}
}

// Not with PublishWithDeferredConfirm: Debian's version 1.5.0 registers the confirm after it has sent the message, so a
// confirm that arrives before that is lost, and its Wait never returns. A batch of 1000 then hung after some rounds.
func publishConfirmed(c *client, p pass) {
	unconfirmed := 0
	for published := 0; published < p.Count; published++ {
		if unconfirmed == c.window {
			c.awaitConfirm()
			unconfirmed--
		}
		check(c.channel.PublishWithContext(background, "", p.Queue, false, false, c.message))
		unconfirmed++
	}
	for ; unconfirmed > 0; unconfirmed-- {
		c.awaitConfirm()
	}
}

func publishConfirmedBatch(c *client, p pass) {
	for left := p.Count; left > 0; left -= c.window {
		size := c.window
		if left < size {
			size = left
		}
		publishConfirmed(c, pass{Queue: p.Queue, Count: size})
	}
}

func (c *client) consume(p pass, autoAck bool) {
	// the queue's name as the consumer tag: each pass needs its own
	deliveries, err := c.channel.Consume(p.Queue, p.Queue, autoAck, false, false, false, nil)
	check(err)
	for received := 0; received < p.Count; received++ {
		delivery, open := <-deliveries
		if !open {
			check(errors.New("the consumer was cancelled"))
		}
		if !autoAck {
			check(delivery.Ack(false))
		}
	}
}

func consumeAck(c *client, p pass) {
	c.consume(p, false)
	// the broker replies after it has handled all earlier acks on the same channel
	c.declarePassive(p.Queue)
}

func consumeAutoAck(c *client, p pass) {
	c.consume(p, true)
}

func declare(c *client, p pass) {
	for declared := 0; declared < p.Count; declared++ {
		c.declarePassive(p.Queue)
	}
}

func openAndClose(c *client, p pass) {
	for opened := 0; opened < p.Count; opened++ {
		channel, err := c.connection.Channel()
		check(err)
		check(channel.Close())
	}
}

type workload struct {
	confirms   bool
	prefetches bool
	section    func(*client, pass)
}

var workloads = map[string]workload{
	"publish":                 {section: publish},
	"publish-confirmed":       {confirms: true, section: publishConfirmed},
	"publish-confirmed-batch": {confirms: true, section: publishConfirmedBatch},
	"consume-ack":             {prefetches: true, section: consumeAck},
	"consume-auto-ack":        {section: consumeAutoAck},
	"declare":                 {section: declare},
	"channel":                 {section: openAndClose},
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Not the peak in Rusage: Linux starts it at the size of the process that has forked this one.
func peakRSSBytes() int64 {
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	var kibibytes int64
	for _, line := range bytes.Split(status, []byte("\n")) {
		if _, err := fmt.Sscanf(string(line), "VmHWM: %d", &kibibytes); err == nil {
			break
		}
	}
	return kibibytes * 1024
}

func main() {
	var task task
	check(json.Unmarshal([]byte(os.Getenv("EFFECT_AMQP_BENCH_TASK")), &task))
	workload, supported := workloads[task.Workload]
	if !supported {
		check(fmt.Errorf("amqp091-go does not support %s", task.Workload))
	}
	connection, err := amqp.Dial(task.URL)
	check(err)
	channel, err := connection.Channel()
	check(err)
	if workload.prefetches {
		check(channel.Qos(task.Window, 0, false))
	}
	c := &client{
		connection: connection,
		channel:    channel,
		message:    amqp.Publishing{Body: bytes.Repeat([]byte("x"), task.Size)},
		window:     task.Window,
	}
	if workload.confirms {
		check(channel.Confirm(false))
		c.confirms = channel.NotifyPublish(make(chan amqp.Confirmation, task.Window))
	}

	workload.section(c, task.WarmUp)
	startedCPU, startedAt := cpuTime(), time.Now()
	workload.section(c, task.Measured)
	took, cpu := time.Since(startedAt), cpuTime()-startedCPU
	result, err := json.Marshal(measurement{
		Nanoseconds:     took.Nanoseconds(),
		CPUMicroseconds: cpu.Microseconds(),
		PeakRSSBytes:    peakRSSBytes(),
	})
	check(err)
	fmt.Println(string(result))
	check(connection.Close())
}
