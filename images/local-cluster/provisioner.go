package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	provisionerName = "millrace.dev/shared-directory"

	gib = int64(1) << 30
	// FSx for Lustre sells 1200 GiB, then multiples of 2400 GiB, and its driver reports what was sold.
	fsxSmallest = 1200 * gib
	fsxStep     = 2400 * gib
)

// sharedDirectories makes a directory of this machine per claim. All nodes of a local cluster run on this machine, so a
// volume is ReadWriteMany with no server in between, as a shared file system is on EKS.
type sharedDirectories struct {
	root string
}

var _ controller.Provisioner = sharedDirectories{}

// Provision makes the claim's directory, open to any user: a host path is never chowned to a pod's fsGroup.
func (s sharedDirectories) Provision(
	_ context.Context, options controller.ProvisionOptions,
) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if mode := options.PVC.Spec.VolumeMode; mode != nil && *mode == corev1.PersistentVolumeBlock {
		return nil, controller.ProvisioningFinished, errors.New("a shared directory cannot be a block device")
	}
	path := s.path(options)
	if err := makeOpenDirectory(path); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make volume directory: %w", err)
	}
	requested := options.PVC.Spec.Resources.Requests[corev1.ResourceStorage]
	return volume(options, path, soldSize(requested.Value())), controller.ProvisioningFinished, nil
}

// Delete removes the volume's directory; a volume that is already gone counts as deleted.
func (s sharedDirectories) Delete(_ context.Context, pv *corev1.PersistentVolume) error {
	if pv.Spec.HostPath == nil {
		return &controller.IgnoredError{Reason: "it is not a host directory"}
	}
	path := filepath.Clean(pv.Spec.HostPath.Path)
	if filepath.Dir(path) != filepath.Clean(s.root) {
		return &controller.IgnoredError{Reason: fmt.Sprintf("%s is not directly under %s", path, s.root)}
	}
	return os.RemoveAll(path)
}

func (s sharedDirectories) path(options controller.ProvisionOptions) string {
	name := strings.Join([]string{options.PVC.Namespace, options.PVC.Name, options.PVName}, "_")
	return filepath.Join(s.root, name)
}

func makeOpenDirectory(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	return os.Chmod(path, 0o777) // MkdirAll is subject to the umask
}

// soldSize rounds a request up to a size that FSx for Lustre would sell, so that status looks as it will there.
func soldSize(requested int64) int64 {
	if requested <= fsxSmallest {
		return fsxSmallest
	}
	return (requested + fsxStep - 1) / fsxStep * fsxStep
}

func volume(options controller.ProvisionOptions, path string, size int64) *corev1.PersistentVolume {
	hostPathType := corev1.HostPathDirectory // a directory that vanished fails the mount instead of coming back empty
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			MountOptions:                  options.StorageClass.MountOptions,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &hostPathType},
			},
		},
	}
}

func newProvisionerCommand() *cobra.Command {
	var kubeconfig, root string
	command := &cobra.Command{
		Use:          "shared-provisioner",
		Short:        "Makes a directory of this machine for each claim of a shared StorageClass",
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return runProvisioner(ctx, kubeconfig, root)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of an account that may manage volumes")
	command.Flags().StringVar(&root, "root", "", "directory that holds one directory per volume")
	for _, required := range []string{"kubeconfig", "root"} {
		if err := command.MarkFlagRequired(required); err != nil {
			panic(err) // only for a flag that does not exist
		}
	}
	return command
}

func runProvisioner(ctx context.Context, kubeconfig, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", root, err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	controller.NewProvisionController(
		ctx, client, provisionerName, sharedDirectories{root: root},
		controller.LeaderElection(false), controller.Threadiness(8),
	).Run(ctx)
	return nil
}
