package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// nodeConfig is what a node is made of; `millrace local` writes it, one file a node.
type nodeConfig struct {
	Hostname  string        `json:"hostname"`
	Mounts    []bindMount   `json:"mounts"`
	Network   bool          `json:"network"` // whether to wait for the node's default route
	Processes []nodeProcess `json:"processes"`
}

type bindMount struct {
	Source string `json:"source"`
	Target string `json:"target"`
}

type nodeProcess struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Log  string   `json:"log"`
	// WaitFor is a path that must exist before each start, such as another process' socket.
	WaitFor string `json:"waitFor,omitempty"`
}

const (
	restartDelay = time.Second
	pollInterval = 50 * time.Millisecond
)

func newNodeCommand() *cobra.Command {
	return nodeCommand("node", "Runs a node in namespaces of its own, until it is killed", runNode)
}

func newNodeInitCommand() *cobra.Command {
	return nodeCommand("node-init", "Is the first process inside a node's namespaces", runNodeInit)
}

func nodeCommand(use, short string, run func(config string) error) *cobra.Command {
	var config string
	command := &cobra.Command{
		Use: use, Short: short, SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error { return run(config) },
	}
	command.Flags().StringVar(&config, "config", "", "file that describes the node")
	return command
}

// runNode starts the node's init in new namespaces. Everything a node makes (processes, mounts, interfaces, packet filter
// rules) lives in those, so that killing one process leaves nothing of the node, whatever state it was in.
func runNode(config string) error {
	runtime.LockOSThread() // the parent-death signal belongs to the thread that starts the child
	init := exec.Command("/proc/self/exe", "node-init", "--config", config)
	init.Stdout, init.Stderr = os.Stdout, os.Stderr
	init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	return init.Run()
}

func runNodeInit(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config nodeConfig
	if err := json.Unmarshal(content, &config); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if err := prepareNode(config); err != nil {
		return err
	}
	if config.Network {
		waitForNetwork()
	}
	(&supervisor{running: map[int]nodeProcess{}}).run(config.Processes)
	return nil
}

func prepareNode(config nodeConfig) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("detach mounts from the machine's: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// State that must not outlive the node (network namespaces, shim sockets, locks) is written below /run.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, mount := range config.Mounts {
		if err := unix.Mount(mount.Source, mount.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", mount.Source, mount.Target, err)
		}
	}
	if err := unix.Sethostname([]byte(config.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// waitForNetwork returns once the node has a default route, which is the last thing that `millrace local` sets up in it.
func waitForNetwork() {
	for !hasDefaultRoute() {
		time.Sleep(pollInterval)
	}
}

func hasDefaultRoute() bool {
	file, err := os.Open("/proc/self/net/route")
	if err != nil {
		return false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[1] == "00000000" {
			return true
		}
	}
	return false
}

// supervisor keeps the node's programs running, as an init system would, and reaps what they leave behind.
type supervisor struct {
	mu      sync.Mutex // held from a start until it is noted, so that no exit is seen before its start
	running map[int]nodeProcess
}

func (s *supervisor) run(processes []nodeProcess) {
	for _, process := range processes {
		go s.start(process)
	}
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if err != nil {
			time.Sleep(pollInterval) // no child yet, or a signal
			continue
		}
		s.ended(pid)
	}
}

// ended starts a program of the node again; other processes are orphans of containers that only need reaping.
func (s *supervisor) ended(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	process, known := s.running[pid]
	if !known {
		return
	}
	delete(s.running, pid)
	fmt.Fprintf(os.Stderr, "%s ended; starting it again\n", process.Name)
	time.AfterFunc(restartDelay, func() { s.start(process) })
}

func (s *supervisor) start(process nodeProcess) {
	waitForPath(process.WaitFor)
	if err := s.spawn(process); err != nil {
		fmt.Fprintf(os.Stderr, "start %s: %v\n", process.Name, err)
		time.AfterFunc(restartDelay, func() { s.start(process) })
	}
}

func waitForPath(path string) {
	for path != "" {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(pollInterval)
	}
}

func (s *supervisor) spawn(process nodeProcess) error {
	log, err := os.OpenFile(process.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	pid, err := syscall.ForkExec(process.Argv[0], process.Argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, log.Fd(), log.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err == nil {
		s.running[pid] = process
	}
	return err
}
