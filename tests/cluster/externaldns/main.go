// Package main is external-dns for tests, made of its own packages: DNSEndpoints as the only source, RFC 2136 as
// the only provider, the TXT registry that it has by default, and its plan of changes. The other providers, which
// its command brings along, would be half an hour of compiling.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/external-dns/endpoint"
	"sigs.k8s.io/external-dns/plan"
	"sigs.k8s.io/external-dns/provider"
	"sigs.k8s.io/external-dns/provider/rfc2136"
	"sigs.k8s.io/external-dns/registry"
	"sigs.k8s.io/external-dns/source"
)

// types of records that are looked after; external-dns has others by default.
var types = []string{endpoint.RecordTypeTXT, endpoint.RecordTypeMX}

type options struct {
	kubeconfig, host, zone, keyName, secret string
	port                                    int
	interval                                time.Duration
}

func main() {
	var given options
	flag.StringVar(&given.kubeconfig, "kubeconfig", "", "path of the kubeconfig")
	flag.StringVar(&given.host, "rfc2136-host", "", "address of the name server")
	flag.IntVar(&given.port, "rfc2136-port", 53, "its port")
	flag.StringVar(&given.zone, "rfc2136-zone", "", "zone")
	flag.StringVar(&given.keyName, "rfc2136-tsig-keyname", "", "name of the key")
	flag.StringVar(&given.secret, "rfc2136-tsig-secret", "", "the key in base64")
	flag.DurationVar(&given.interval, "interval", time.Second, "time between two looks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, given); err != nil {
		fmt.Fprintln(os.Stderr, "externaldns:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, given options) error {
	config, err := clientcmd.BuildConfigFromFlags("", given.kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	crds, scheme, err := source.NewCRDClientForAPIVersionKind(
		client, given.kubeconfig, "", "externaldns.k8s.io/v1alpha1", "DNSEndpoint")
	if err != nil {
		return err
	}
	from, err := source.NewCRDSource(crds, "", "DNSEndpoint", "", labels.Everything(), scheme, false)
	if err != nil {
		return err
	}
	filter := endpoint.NewDomainFilter([]string{given.zone})
	to, err := rfc2136.NewRfc2136Provider(
		[]string{given.host}, given.port, []string{given.zone}, false, given.keyName, given.secret,
		"hmac-sha256", true, filter, false, 0, false, false, "", "", "", 50, rfc2136.TLSConfig{}, "", nil)
	if err != nil {
		return err
	}
	owned, err := registry.NewTXTRegistry(
		to, "externaldns-", "", "tests", 0, "", types, nil, false, nil, "")
	if err != nil {
		return err
	}
	for {
		if err := once(ctx, from, owned, filter); err != nil {
			fmt.Fprintln(os.Stderr, "externaldns:", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(given.interval):
		}
	}
}

// once does what RunOnce of external-dns's controller does, without its metrics.
func once(
	ctx context.Context, from source.Source, owned registry.Registry, filter *endpoint.DomainFilter,
) error {
	records, err := owned.Records(ctx)
	if err != nil {
		return err
	}
	ctx = context.WithValue(ctx, provider.RecordsContextKey, records)
	wanted, err := from.Endpoints(ctx)
	if err != nil {
		return err
	}
	wanted, err = owned.AdjustEndpoints(wanted)
	if err != nil {
		return err
	}
	changes := (&plan.Plan{
		Policies:       []plan.Policy{&plan.SyncPolicy{}},
		Current:        records,
		Desired:        wanted,
		DomainFilter:   endpoint.MatchAllDomainFilters{filter, owned.GetDomainFilter()},
		ManagedRecords: types,
		OwnerID:        owned.OwnerID(),
	}).Calculate().Changes
	if !changes.HasChanges() {
		return nil
	}
	return owned.ApplyChanges(ctx, changes)
}
