module github.com/aws/aws-sdk-go-v2/service/iam

go 1.26.6
