package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	deviceplugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const socketCheckInterval = time.Second

// simulatedDevices is a device plugin for devices that are not there. Numbers patched into a node's status are lost when
// its kubelet starts again; what a device plugin reports is the kubelet's own, and allocated to containers one by one.
type simulatedDevices struct {
	deviceplugin.UnimplementedDevicePluginServer
	resource string
	count    int
}

func (d simulatedDevices) GetDevicePluginOptions(
	context.Context, *deviceplugin.Empty,
) (*deviceplugin.DevicePluginOptions, error) {
	return &deviceplugin.DevicePluginOptions{}, nil
}

// ListAndWatch names the devices once: they never fail.
func (d simulatedDevices) ListAndWatch(
	_ *deviceplugin.Empty, stream grpc.ServerStreamingServer[deviceplugin.ListAndWatchResponse],
) error {
	devices := make([]*deviceplugin.Device, d.count)
	for i := range devices {
		devices[i] = &deviceplugin.Device{ID: strconv.Itoa(i), Health: deviceplugin.Healthy}
	}
	if err := stream.Send(&deviceplugin.ListAndWatchResponse{Devices: devices}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

// Allocate gives each container nothing but the right to have been counted.
func (d simulatedDevices) Allocate(
	_ context.Context, request *deviceplugin.AllocateRequest,
) (*deviceplugin.AllocateResponse, error) {
	response := &deviceplugin.AllocateResponse{}
	for range request.ContainerRequests {
		response.ContainerResponses = append(response.ContainerResponses, &deviceplugin.ContainerAllocateResponse{})
	}
	return response, nil
}

func (d simulatedDevices) socket() string {
	return "simulated-" + strings.NewReplacer("/", "_", ".", "_").Replace(d.resource) + ".sock"
}

// serve registers the devices and returns when the kubelet has forgotten them: it removes all sockets when it starts.
func (d simulatedDevices) serve() error {
	path := filepath.Join(deviceplugin.DevicePluginPath, d.socket())
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	deviceplugin.RegisterDevicePluginServer(server, d)
	defer server.Stop()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	if err := d.register(); err != nil {
		return fmt.Errorf("register %s with the kubelet: %w", d.resource, err)
	}
	return waitUntilGone(path, failed)
}

func (d simulatedDevices) register() error {
	connection, err := grpc.NewClient(
		"unix://"+deviceplugin.KubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = deviceplugin.NewRegistrationClient(connection).Register(ctx, &deviceplugin.RegisterRequest{
		Version: deviceplugin.Version, Endpoint: d.socket(), ResourceName: d.resource,
	})
	return err
}

func waitUntilGone(path string, failed <-chan error) error {
	for {
		select {
		case err := <-failed:
			return err
		case <-time.After(socketCheckInterval):
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("the kubelet started again: %w", err)
			}
		}
	}
}

func newDevicesCommand() *cobra.Command {
	var resources map[string]int
	command := &cobra.Command{
		Use: "simulated-devices", Short: "Offers devices that are not there to this node's kubelet", SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error { return serveAll(resources) },
	}
	command.Flags().StringToIntVar(&resources, "resources", nil, "NAME=COUNT,... as in nvidia.com/gpu=8")
	return command
}

// serveAll ends with the first resource that ends; the node's init starts it all again.
func serveAll(resources map[string]int) error {
	ended := make(chan error, len(resources))
	for resource, count := range resources {
		go func() { ended <- simulatedDevices{resource: resource, count: count}.serve() }()
	}
	return <-ended
}
